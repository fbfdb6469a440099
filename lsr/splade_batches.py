"""Texts to rows in batches of similar length, on a set of threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Protocol, TypeVar

from lsr.tokens import Ids, TextTokenizer, serial_tokenizers

if TYPE_CHECKING:
    from torch import Tensor

#: What becomes of a text.
Vector = TypeVar("Vector")

#: Texts that are sorted by length together; fixed, so that batches never depend on threads.
WINDOW = 2048
#: Tokens in a batch: enough to fill the matrix products, few enough to stay in cache.
BATCH_TOKENS = 1024
#: Texts that a thread tokenizes at once.
_TOKENIZE = 64


class Body(Protocol):
    """The part of a network below its vocabulary projection."""

    @property
    def decoder(self) -> Tensor | None:
        """(vocab, hidden), None when `hidden_states` returns logits."""

    @property
    def bias(self) -> Tensor | None:
        """(vocab,), None when `hidden_states` returns logits."""

    @property
    def vocab_size(self) -> int:
        """The number of terms."""

    def hidden_states(self, texts: Sequence[Ids]) -> Tensor:
        """Return (all tokens, hidden): the texts one after the other."""


def encode_in_batches(
    texts: Sequence[str],
    tokenizer: TextTokenizer,
    states: Callable[[Sequence[Ids]], Tensor],
    pool: Callable[[Tensor, Sequence[Ids]], list[Vector]],
    *,
    threads: int,
    on_progress: Callable[[int], None] | None = None,
) -> list[Vector]:
    """Return what `pool` makes of each text, in order; `states` runs a network on several.

    `pool` gets what `states` returned and the ids of the same texts.
    `on_progress` is called on the calling thread with the number of texts just finished. The
    number of threads that torch uses for one operation is set to one meanwhile.
    """
    import torch

    stop = threading.Event()
    before = torch.get_num_threads()

    def one_batch(batch: list[Ids]) -> list[Vector]:
        if stop.is_set():
            return []
        with torch.inference_mode():
            return pool(states(batch), batch)

    executor = ThreadPoolExecutor(
        threads, thread_name_prefix="lsr-encode", initializer=torch.set_num_threads, initargs=(1,)
    )
    rows: list[Vector | None] = [None] * len(texts)
    try:
        with serial_tokenizers:
            windows = [
                range(at, min(at + WINDOW, len(texts))) for at in range(0, len(texts), WINDOW)
            ]
            ahead = _tokenize(executor, tokenizer, texts, windows[0]) if windows else []
            for number, window in enumerate(windows):
                ids = [row for part in ahead for row in part.result()]
                work = {
                    executor.submit(one_batch, [ids[at] for at in batch]): batch
                    for batch in _batches(ids)
                }
                if number + 1 < len(windows):
                    ahead = _tokenize(executor, tokenizer, texts, windows[number + 1])
                for done in as_completed(work):
                    for at, row in zip(work[done], done.result(), strict=True):
                        rows[window[at]] = row
                    if on_progress is not None:
                        on_progress(len(work[done]))
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)
    return [row for row in rows if row is not None]


def _tokenize(
    executor: ThreadPoolExecutor, tokenizer: TextTokenizer, texts: Sequence[str], window: range
) -> list[Future[list[Ids]]]:
    starts = range(window.start, window.stop, _TOKENIZE)
    return [
        executor.submit(tokenizer.encode, texts[at : min(at + _TOKENIZE, window.stop)])
        for at in starts
    ]


def _batches(ids: Sequence[Ids]) -> Iterator[list[int]]:
    """Yield the places of texts of similar length, longest first, so that no thread ends late."""
    batch: list[int] = []
    tokens = 0
    for at in sorted(range(len(ids)), key=lambda at: (-len(ids[at]), at)):
        if batch and tokens + len(ids[at]) > BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(at)
        tokens += len(ids[at])
    if batch:
        yield batch
