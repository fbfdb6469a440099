"""A side of an encoder that runs a masked language model and pools its logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lsr.bert import BertWeights, hidden_states, is_bert, read_bert
from lsr.errors import ModelError
from lsr.frequency import add_frequency
from lsr.head import Array, Row, keep_largest, pool_text
from lsr.model_folder import FREQUENCY_TENSOR, NetworkSide
from lsr.tokens import Ids, TextTokenizer, read_json
from lsr.weights import WeightFiles

if TYPE_CHECKING:
    from torch import Tensor

    from lsr.pooling import Pool
    from lsr.splade_batches import Body

Progress = Callable[[int], None]


class SpladeNetwork:
    """A masked language model with max or sum pooling, loaded from one side of a folder.

    A few texts through a model of the BERT family need numpy only; everything else runs on
    torch, which is imported when it is first needed.
    """

    def __init__(self, side: NetworkSide) -> None:
        self.side = side
        config = read_json(side.folder / "config.json")
        self.tokenizer = TextTokenizer(
            side.folder, length=side.max_seq_length, lower_case=side.lower_case
        )
        self._config = config
        self._bert = self._read_bert()
        if self._bert is None:
            self.vocab_size = self._body.vocab_size
        else:
            self.vocab_size = len(self._bert.decoder)
        if self.tokenizer.size > self.vocab_size:
            raise ModelError(
                f"{side.folder}: the tokenizer has {self.tokenizer.size} tokens but the model "
                f"has a vocabulary of {self.vocab_size}",
                hint="the tokenizer files belong to another model; fetch the whole model again",
            )

    def _read_bert(self) -> BertWeights | None:
        files = WeightFiles(self.side.folder)
        return read_bert(self._config, files) if is_bert(self._config) else None

    @property
    def can_skip_torch(self) -> bool:
        """Whether `encode_few` works for this model."""
        return self._bert is not None

    @cached_property
    def _body(self) -> Body:
        if self._bert is not None:
            from lsr.bert_torch import PackedBert

            return PackedBert(self._bert)
        from lsr.masked_lm import MaskedLM

        return MaskedLM(self.side.folder, self._config)

    @cached_property
    def _pool(self) -> Pool:
        from lsr.pooling import make_pool

        return make_pool(self._body, self.side.pooling, self.side.activation)

    def encode_few(self, texts: Sequence[str], *, max_active: int | None = None) -> list[Row]:
        """Return a row for each text, one text after the other, without torch."""
        bert = self._bert
        if bert is None:
            raise ModelError(f"{self.side.folder} needs torch")
        rows = []
        for ids in self.tokenizer.encode(texts):
            row = pool_text(
                hidden_states(bert, ids),
                bert.decoder,
                bert.decoder_bias,
                pooling=self.side.pooling,
                activation=self.side.activation,
            )
            rows.append(keep_largest(self._finish(row, ids), max_active))
        return rows

    def encode(
        self,
        texts: Sequence[str],
        *,
        threads: int,
        max_active: int | None = None,
        on_progress: Progress | None = None,
    ) -> list[Row]:
        """Return a row for each text; the outcome does not depend on the number of threads."""
        from lsr.splade_batches import encode_in_batches

        rows = encode_in_batches(
            texts,
            self.tokenizer,
            self._body.hidden_states,
            self._rows,
            threads=threads,
            on_progress=on_progress,
        )
        return [keep_largest(row, max_active) for row in rows]

    def _rows(self, hidden: Tensor, batch: Sequence[Ids]) -> list[Row]:
        rows = self._pool(hidden, [len(ids) for ids in batch])
        return [self._finish(row, ids) for row, ids in zip(rows, batch, strict=True)]

    def _finish(self, row: Row, ids: Ids) -> Row:
        """Return the row with what a folder of ours adds to the vocabulary head."""
        if self._lift is not None:
            row = add_frequency(row, ids, self._lift, self._special)
        return keep_largest(row, self.side.window or None)

    @cached_property
    def _special(self) -> Ids:
        return np.array(sorted(self.tokenizer.special_ids), np.int32)

    @cached_property
    def _lift(self) -> Array | None:
        if self.side.frequency is None:
            return None
        files = WeightFiles(self.side.frequency.parent, self.side.frequency.name)
        lift = files.tensor(FREQUENCY_TENSOR)
        if lift.shape != (self.vocab_size,):
            raise ModelError(
                f"{self.side.frequency}: {FREQUENCY_TENSOR} has shape {lift.shape}; "
                f"({self.vocab_size},) is expected"
            )
        return np.maximum(lift, np.float32(0))
