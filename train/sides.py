"""Sides with a network: a masked or causal language model and its vocabulary head."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from lsr.train.activations import activate
from lsr.train.backbone import Backbone, Hidden
from lsr.train.encoded import Encoded, TokenBatch
from lsr.train.head import max_logits
from lsr.train.settings_model import SideSettings


class NetworkSide(nn.Module):
    """Pools the logits of a language model over the positions of each text."""

    def __init__(self, settings: SideSettings, backbone: Backbone) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = backbone

    def forward(self, batch: TokenBatch) -> Encoded:
        """Return the vectors of the texts."""
        hidden = self.backbone(batch.input_ids, batch.attention_mask)
        weights = self._pool(hidden)
        return Encoded(weights, weights)

    def _pool(self, hidden: Hidden) -> Tensor:
        settings, body = self.settings, self.backbone
        if settings.pooling in ("last", "cls") or settings.kind == "clsmlm":
            rows = hidden.rows(last=settings.pooling == "last" and settings.kind != "clsmlm")
            logits = functional.linear(rows, body.decoder, body.bias)
        else:
            logits = max_logits(hidden.states, body.decoder, body.bias, hidden.lengths)
        return activate(logits, settings.activation, settings.logs)
