"""Stops training when vectors have collapsed: no terms at all, or nearly all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lsr.errors import LsrError, ModelError
from lsr.train.settings_model import ModelSettings

if TYPE_CHECKING:
    from lsr.train.model import SparseModel

#: Batches in a row that have to look collapsed.
EMPTY_STEPS = 20
FULL_STEPS = 100
#: A larger share of active terms is no sparse vector.
FULL_SHARE = 0.5
#: Texts that are enough to see how large a head's logits are, and how many go in a batch.
_PROBED = 100
_BATCH = 10


class Probe(NamedTuple):
    """Documents of a model as it is: share of active terms, the middle one of their weights."""

    active_share: float
    median_weight: float


def probe(model: SparseModel, texts: Sequence[str]) -> Probe:
    """Return how full and how heavy the documents' vectors are, from at most 100 texts."""
    import torch

    was_training = model.training
    model.eval()
    shares: list[float] = []
    weights = []
    with torch.inference_mode():
        chosen = list(texts[:_PROBED])
        for start in range(0, len(chosen), _BATCH):
            batch = model.collate("document", chosen[start : start + _BATCH])
            vectors = model.encode("document", batch).vectors
            shares += (vectors > 0).float().mean(1).tolist()
            weights.append(vectors[vectors > 0])
    model.train(was_training)
    found = torch.cat(weights) if weights else torch.empty(0)
    median = float(found.median()) if len(found) else 0.0
    return Probe(sum(shares) / max(1, len(shares)), median)


def check_start(model: SparseModel, texts: Sequence[str]) -> Probe:
    """Return `probe` of a model about to be trained; ModelError when nearly every term is active.

    That is a head whose outputs are too large (arXiv:2606.18811): dividing it once mends it.
    Models that are not sparse by themselves (softplus, a window) may begin as they like.
    """
    found = probe(model, texts)
    if found.active_share > FULL_SHARE and is_watched(model.settings):
        raise ModelError(
            f"the untrained documents have {found.active_share:.0%} of all terms, the middle "
            f"weight is {found.median_weight:.2f}; training would collapse",
            hint="--set model.head_scale=16",
        )
    return found


def is_watched(settings: ModelSettings) -> bool:
    """Return whether the documents' vectors of such a model should be sparse by themselves."""
    side = settings.document
    return (
        side.kind in ("mlm", "clsmlm", "causal") and side.activation == "relu" and not side.window
    )


class CollapseGuard:
    """Counts batches in a row whose documents are empty or full, and ends training after some.

    Full vectors are only counted once the regulariser has its whole weight.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self._looks_at_full = is_watched(settings)
        self.empty = 0
        self.full = 0

    def check(self, *, terms: float, active_share: float, ramped: bool, step: int) -> None:
        """Take note of a batch; LsrError when it is one too many."""
        self.empty = self.empty + 1 if terms < 0.5 else 0
        too_full = self._looks_at_full and ramped and active_share > FULL_SHARE
        self.full = self.full + 1 if too_full else 0
        if self.empty >= EMPTY_STEPS:
            raise LsrError(
                f"step {step}: the documents of {self.empty} batches in a row have no terms; "
                "every logit is negative and nothing can be learned any more",
                hint="lower regularise.document.weight, lengthen its ramp_steps, or lower train.lr",
            )
        if self.full >= FULL_STEPS:
            raise LsrError(
                f"step {step}: the documents of {self.full} batches in a row have "
                f"{active_share:.0%} of all terms; the regulariser does not hold them",
                hint="raise regularise.document.weight, or set regularise.document.target_terms",
            )
