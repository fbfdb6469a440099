"""What a recipe may say about the objective: ranking losses and regularisers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lsr.train.settings_model import Settings


class InfoNCE(Settings):
    """Cross-entropy of the positive among the candidates of a query."""

    weight: float = Field(default=0.0, ge=0.0, description="share in the loss; 0 leaves it out")
    temperature: float = Field(default=1.0, gt=0.0, description="scores are divided by this")
    in_batch: bool = Field(
        default=True, description="documents of the other queries are negatives as well"
    )


class MarginMSE(Settings):
    """Squared error of the margin between the positive and each negative against the teacher's."""

    weight: float = Field(default=0.0, ge=0.0, description="share in the loss; 0 leaves it out")


class KL(Settings):
    """Divergence of the student's distribution over the candidates from the teacher's."""

    weight: float = Field(default=0.0, ge=0.0, description="share in the loss; 0 leaves it out")
    temperature: float = Field(
        default=1.0, gt=0.0, description="both sides' scores are divided by this"
    )


class Ensemble(Settings):
    """How the scores of several teachers become one."""

    normalise: Literal["minmax", "standard", "none"] = Field(
        default="minmax", description="for each query and teacher, before they are added"
    )
    scale: float = Field(default=30.0, gt=0.0, description="the sum is multiplied by this")
    weights: list[float] | None = Field(
        default=None, description="share of each teacher, made to add up to 1; all equal if absent"
    )


class RankSettings(Settings):
    """The losses that order candidates; those with a weight are added."""

    infonce: InfoNCE = Field(default_factory=InfoNCE, description="contrastive loss")
    marginmse: MarginMSE = Field(default_factory=MarginMSE, description="margins of the teacher")
    kl: KL = Field(default_factory=KL, description="distribution of the teacher")
    ensemble: Ensemble = Field(default_factory=Ensemble, description="the teachers together")
    term_mse: float = Field(
        default=0.0, ge=0.0, description="weight of DeepCT's squared error on query term recall"
    )
    likelihood: float = Field(
        default=0.0, ge=0.0, description="weight of TILDE's likelihood of queries given documents"
    )
    document_likelihood: float = Field(
        default=0.0, ge=0.0,
        description="weight of TILDE's likelihood of documents given queries, which the network "
        "of documents reads for it",
    )  # fmt: skip


class RegulariseSettings(Settings):
    """What keeps the vectors of one side short."""

    kind: Literal["flops", "l1", "joint", "none"] = Field(
        default="none",
        description="flops (sum over terms of the squared mean weight), l1 (mean sum of weights), "
        "joint (sum over terms of mean query weight times mean document weight)",
    )
    vector: Literal["plain", "idf", "df"] = Field(
        default="plain",
        description="factor of each term: 1, 1 / idf^2, or the square of the activation of its "
        "document frequency in what the model gives (DF-FLOPS)",
    )
    weight: float = Field(default=0.0, ge=0.0, description="lambda at the end of the ramp")
    ramp_steps: float = Field(
        default=0.0, ge=0.0,
        description="lambda rises with the square of the step up to this step; "
        "below 1 it is a share of all steps",
    )  # fmt: skip
    l0_threshold: int = Field(
        default=0, ge=0, description="vectors with at most so many terms are left alone"
    )
    unbiased: bool = Field(
        default=False, description="estimate flops without the bias of small batches"
    )
    per_slot: bool = Field(
        default=False,
        description="flops of the positives and of each column of negatives apart, then added, "
        "as the OpenSearch trainer does; lambda then grows with the size of the groups",
    )
    alpha: float = Field(
        default=0.1, gt=0.0, lt=1.0, description="vector = df: the frequency whose factor is 1/2"
    )
    beta: float = Field(default=10.0, gt=0.0, description="vector = df: how steep the factor is")
    df_every: int = Field(
        default=100, ge=1, description="vector = df: steps between estimates of frequencies"
    )
    target_terms: int | None = Field(
        default=None, ge=1,
        description="average number of terms to reach; lambda is steered towards it",
    )  # fmt: skip
