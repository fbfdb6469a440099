"""What a recipe may say about codes of dense vectors (CSR)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from lsr.train.settings_model import Settings


class CsrSettings(Settings):
    """An autoencoder whose code has k latents above zero (arXiv:2503.01776)."""

    latents: int | None = Field(
        default=None, ge=8, description="latents in all; by default 4 for each dimension"
    )
    k: int = Field(default=32, ge=1, description="latents that a code keeps")
    k_start: int | None = Field(
        default=None, ge=1, description="k at the first step, falling to k (CSRv2)"
    )
    anneal: float = Field(
        default=0.7, gt=0.0, le=1.0, description="share of the steps in which k falls"
    )
    k_aux: int = Field(
        default=512, ge=0, description="dead latents that learn from what is left unexplained"
    )
    dead_batches: int = Field(
        default=30, ge=1, description="a latent that was silent for more batches is dead"
    )
    auxiliary: float = Field(
        default=1 / 32, ge=0.0, description="weight of the dead latents' loss (beta)"
    )
    contrastive: float = Field(
        default=0.1, ge=0.0, description="weight of the contrastive loss (gamma)"
    )
    temperature: float = Field(
        default=0.2, gt=0.0, description="of the contrastive loss on codes of length 1"
    )
    supervised: bool = Field(
        default=False, description="vectors of one label are positives of each other (CSRv2)"
    )

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.k_start is not None and self.k_start < self.k:
            raise ValueError(f"k_start is {self.k_start} and k is {self.k}; k can only fall")
        return self
