"""The regulariser of one side: its formula, its ramp, its factors and what steers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lsr.errors import ConfigError
from lsr.train.controller import TermsController
from lsr.train.encoded import Encoded, Side
from lsr.train.ramp import ramp
from lsr.train.regularisers import df_factors, flops, idf_factors, joint, l1
from lsr.train.settings_loss import RegulariseSettings


class Regulariser:
    """Lambda times the penalty of one side's vectors; holds the state of factors and controller.

    `idf` (vocabulary,) is needed when the recipe's vector is `idf`; `total_steps` when its ramp is
    a share of all steps.
    """

    def __init__(
        self,
        side: Side,
        settings: RegulariseSettings,
        idf: Tensor | None,
        total_steps: int | None,
    ) -> None:
        self.settings = settings
        self.ramp_steps = settings.ramp_steps
        if 0 < settings.ramp_steps < 1:
            if total_steps is None:
                raise ConfigError(
                    f"regularise.{side}.ramp_steps is {settings.ramp_steps}, a share of a number "
                    "of steps that was not given"
                )
            self.ramp_steps = settings.ramp_steps * total_steps
        self.factors: Tensor | None = None
        if settings.vector == "idf":
            if idf is None:
                raise ConfigError(f"regularise.{side}.vector is idf, and no idf was given")
            self.factors = idf_factors(idf)
        self._counts: Tensor | None = None
        self._counted = 0
        target = settings.target_terms
        self.controller = None if target is None else TermsController(target)

    def share(self, step: int) -> float:
        """Return how much of its weight the regulariser has at a step, 0 to 1."""
        return ramp(step, self.ramp_steps)

    def strength(self, step: int) -> float:
        """Return lambda at a step, 0 when there is no regulariser."""
        if self.settings.kind == "none":
            return 0.0
        factor = 1.0 if self.controller is None else self.controller.factor
        return self.settings.weight * factor * self.share(step)

    def __call__(self, encoded: Encoded, other: Encoded, slots: int, step: int) -> Tensor | None:
        """Return lambda times the penalty, None when there is nothing to learn from it.

        `encoded` has `slots` rows for each query; `other` is the other side, for `joint`.
        """
        settings, base = self.settings, encoded.base
        strength = self.strength(step)
        if not strength or not base.requires_grad:
            return None
        if settings.kind == "l1":
            return strength * l1(base, l0_threshold=settings.l0_threshold)
        factors = self._factors(base)
        if settings.kind == "joint":
            return strength * joint(other.base, base, factors)
        groups = base.view(-1, slots, base.shape[1]).unbind(1) if settings.per_slot else [base]
        values = [
            flops(
                rows, factors, l0_threshold=settings.l0_threshold, unbiased=settings.unbiased
            )
            for rows in groups
        ]  # fmt: skip
        return strength * torch.stack(values).sum()

    @torch.no_grad()
    def observe(self, encoded: Encoded, terms: float, step: int) -> None:
        """Take note of a batch: document frequencies for `df`, the number of terms to steer by."""
        if self.controller is not None:
            self.controller.update(terms, share=self.share(step))
        if self.settings.vector != "df":
            return
        counts = (encoded.base > 0).sum(0).float()
        self._counts = counts if self._counts is None else self._counts + counts
        self._counted += len(encoded.base)
        if step % self.settings.df_every == 0:
            shares = self._counts / max(1, self._counted)
            self.factors = df_factors(
                shares,
                alpha=self.settings.alpha,
                beta=self.settings.beta,
                n_documents=self._counted,
            )
            self._counts, self._counted = None, 0

    def state_dict(self) -> dict[str, Any]:
        """Return what training has changed."""
        state: dict[str, Any] = {}
        if self.settings.vector == "df" and self.factors is not None:
            state["factors"] = self.factors
        if self._counts is not None:
            state |= {"counts": self._counts, "counted": self._counted}
        if self.controller is not None:
            state |= {"log_factor": self.controller.log_factor, "terms": self.controller.terms}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        if self.settings.vector == "df":
            self.factors = state.get("factors")
            self._counts = state.get("counts")
            self._counted = int(state.get("counted", 0))
        if self.controller is not None:
            self.controller.log_factor = float(state.get("log_factor", 0.0))
            self.controller.terms = state.get("terms")

    def _factors(self, base: Tensor) -> Tensor | None:
        if self.settings.vector == "plain" or self.factors is None:
            return None
        factors = self.factors.to(base.device)
        if len(factors) < base.shape[1]:  # the vocabulary is padded with rows no token has
            factors = torch.nn.functional.pad(factors, (0, base.shape[1] - len(factors)))
        return factors
