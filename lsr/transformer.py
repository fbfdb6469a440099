"""Token states of any encoder that transformers knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.errors import ModelError
from lsr.masked_lm import load_pretrained, pack
from lsr.tokens import Ids

if TYPE_CHECKING:
    from torch import Tensor


class TokenEncoder:
    """The last hidden states of several texts laid end to end, from an `AutoModel`."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._model = _load(folder)
        self._pad = int(config.get("pad_token_id") or 0)

    def token_states(self, texts: Sequence[Ids]) -> Tensor:
        """Return (all tokens, hidden): the texts one after the other, after the last layer."""
        return pack(
            texts,
            self._pad,
            lambda tokens, mask: self._model(tokens, attention_mask=mask).last_hidden_state,
        )


def _load(folder: Path) -> Any:
    from transformers import AutoModel

    model, info = load_pretrained(AutoModel, folder, "the encoder")
    # Pooling is ours, so a pooler that the checkpoint does not have does no harm.
    missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)
    if missing:
        raise ModelError(
            f"{folder} is not a complete encoder: its weights lack {missing[0]!r}, which "
            "transformers would fill with random numbers",
            hint="fetch the whole model again",
        )
    if model.config.is_encoder_decoder:
        raise ModelError(
            f"{folder} is an encoder with a decoder ({model.config.model_type}); an encoder "
            "alone is expected",
            hint="give a model such as sentence-transformers/all-MiniLM-L6-v2",
        )
    model.requires_grad_(False)
    return model.eval()
