"""The loss of a batch: ranking losses and regularisers of a recipe, from vectors alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lsr.errors import ConfigError, DataError
from lsr.train.encoded import Encoded
from lsr.train.ramp import ramp
from lsr.train.ranking import (
    combine_teachers,
    infonce,
    kl,
    marginmse,
    own_scores,
    query_likelihood,
    term_mse,
)
from lsr.train.recipe import Recipe
from lsr.train.regularisers import flops, idf_factors, joint, l1
from lsr.train.settings_loss import RegulariseSettings


class Candidates(NamedTuple):
    """Which documents belong to which query, and what teachers say of them.

    Documents are laid out query by query, `group` of each, the positive first. `teacher`
    float32 (n_teachers, n_queries, group) raw scores. `duplicates` bool (n_queries, n_documents)
    marks documents that are no negatives of a query because they are as good as its positive.
    `labels` int64 (n_documents,) are classes, for supervised contrastive losses.
    """

    group: int
    teacher: Tensor | None = None
    labels: Tensor | None = None
    duplicates: Tensor | None = None


class Loss(NamedTuple):
    """`total` to go backward from; `parts` of it and `statistics` of the vectors, for logs."""

    total: Tensor
    parts: dict[str, float]
    statistics: dict[str, float]


class Objective:
    """What a recipe wants of the vectors of a batch; holds no network.

    `idf` (vocabulary,) is needed when a regulariser's vector is `idf`. `total_steps` is what
    ramps that are shares are shares of. State that changes with training is in `state_dict`.
    """

    def __init__(
        self, recipe: Recipe, idf: Tensor | None = None, *, total_steps: int | None = None
    ) -> None:
        self.rank = recipe.rank
        self.regularise = recipe.regularise
        self.idf = idf
        self.total_steps = total_steps
        needs_idf = [
            side
            for side in ("query", "document")
            if getattr(recipe.regularise, side).vector == "idf"
        ]
        if needs_idf and idf is None:
            raise ConfigError(f"regularise.{needs_idf[0]}.vector is idf, and no idf was given")

    def __call__(
        self, queries: Encoded, documents: Encoded, candidates: Candidates, step: int
    ) -> Loss:
        """Return the loss of a batch at `step` updates of the optimiser."""
        check_candidates(queries, documents, candidates)
        parts = self._ranking(queries, documents, candidates)
        parts |= self._regularisers(queries, documents, candidates.group, step)
        if not parts:
            raise ConfigError(
                "every loss of the recipe has weight 0", hint="--set rank.infonce.weight=1.0"
            )
        total = torch.stack(list(parts.values())).sum()
        with torch.no_grad():
            return Loss(
                total,
                {name: part.item() for name, part in parts.items()},
                self._statistics(queries, documents, step),
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what training has changed here."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""

    def _ranking(
        self, queries: Encoded, documents: Encoded, candidates: Candidates
    ) -> dict[str, Tensor]:
        rank, group = self.rank, candidates.group
        parts = {}
        own = own_scores(queries.vectors, documents.vectors, group)
        if rank.infonce.weight:
            parts["infonce"] = rank.infonce.weight * self._infonce(
                queries, documents, candidates, own
            )
        if rank.kl.weight or rank.marginmse.weight:
            teacher = self._teacher(candidates)
            if rank.kl.weight:
                parts["kl"] = rank.kl.weight * kl(own, teacher, temperature=rank.kl.temperature)
            if rank.marginmse.weight:
                parts["marginmse"] = rank.marginmse.weight * marginmse(own, teacher)
        if rank.term_mse:
            recalled = _inputs(queries).repeat_interleave(group, 0)[::group]
            positives = documents.vectors[::group]
            parts["term_mse"] = rank.term_mse * term_mse(
                positives, _inputs(documents)[::group], recalled
            )
        if rank.likelihood:
            parts["likelihood"] = rank.likelihood * query_likelihood(
                documents.vectors[::group], _inputs(queries)
            )
        return parts

    def _infonce(
        self, queries: Encoded, documents: Encoded, candidates: Candidates, own: Tensor
    ) -> Tensor:
        settings = self.rank.infonce
        n = len(queries.vectors)
        if not settings.in_batch:
            return infonce(
                own / settings.temperature, torch.zeros(n, dtype=torch.long).to(own.device)
            )
        scores = queries.vectors @ documents.vectors.T / settings.temperature
        positives = torch.arange(n, device=scores.device) * candidates.group
        return infonce(scores, positives, excluded=candidates.duplicates)

    def _teacher(self, candidates: Candidates) -> Tensor:
        if candidates.teacher is None:
            raise DataError(
                "the recipe learns from teachers, and this batch has no scores",
                hint="name teachers in [teachers], or give data with scores",
            )
        settings = self.rank.ensemble
        return combine_teachers(
            candidates.teacher,
            normalise=settings.normalise,
            scale=settings.scale,
            weights=settings.weights,
        )

    def _regularisers(
        self, queries: Encoded, documents: Encoded, group: int, step: int
    ) -> dict[str, Tensor]:
        parts = {}
        for side, encoded, slots in (("query", queries, 1), ("document", documents, group)):
            settings: RegulariseSettings = getattr(self.regularise, side)
            strength = self._strength(settings, step)
            if settings.kind == "none" or not strength or not encoded.base.requires_grad:
                continue
            if settings.kind == "l1":
                value = l1(encoded.base, l0_threshold=settings.l0_threshold)
            elif settings.kind == "joint":
                value = joint(queries.base, documents.base, self._factors(settings))
            else:
                columns = range(slots) if settings.per_slot else [slice(None)]
                rows = encoded.base.view(-1, slots, encoded.base.shape[1])
                value = torch.stack([
                    flops(
                        rows[:, column].flatten(0, -2),
                        self._factors(settings),
                        l0_threshold=settings.l0_threshold,
                        unbiased=settings.unbiased,
                    )
                    for column in columns
                ]).sum()  # fmt: skip
            parts[f"{side}_{settings.kind}"] = strength * value
        return parts

    def _factors(self, settings: RegulariseSettings) -> Tensor | None:
        if settings.vector == "idf" and self.idf is not None:
            return idf_factors(self.idf)
        return None

    def _strength(self, settings: RegulariseSettings, step: int) -> float:
        steps = settings.ramp_steps
        if 0 < steps < 1:
            if self.total_steps is None:
                raise ConfigError(f"ramp_steps is {steps}, a share of a number of steps not given")
            steps *= self.total_steps
        return settings.weight * ramp(step, steps)

    def _statistics(self, queries: Encoded, documents: Encoded, step: int) -> dict[str, float]:
        query_terms = (queries.vectors > 0).sum(1).float().mean().item()
        document_terms = (documents.vectors > 0).sum(1).float().mean().item()
        return {
            "query_terms": query_terms,
            "document_terms": document_terms,
            "active_share": document_terms / documents.vectors.shape[1],
            "query_lambda": self._strength(self.regularise.query, step),
            "document_lambda": self._strength(self.regularise.document, step),
        }


def check_candidates(queries: Encoded, documents: Encoded, candidates: Candidates) -> None:
    """Raise DataError unless every query has `group` documents, and scores fit them."""
    n, group = len(queries.vectors), candidates.group
    if n == 0:
        raise DataError("a batch has no query")
    if group < 1 or len(documents.vectors) != n * group:
        raise DataError(
            f"a batch has {n} queries and {len(documents.vectors)} documents; "
            f"{group} for each query are expected"
        )
    teacher = candidates.teacher
    if teacher is not None and teacher.shape[1:] != (n, group):
        raise DataError(
            f"the teachers' scores have shape {tuple(teacher.shape)}; "
            f"(teachers, {n}, {group}) is expected"
        )


def _inputs(encoded: Encoded) -> Tensor:
    if encoded.inputs is None:
        raise ConfigError(
            "this loss needs to know the terms of the texts, and the model keeps none"
        )
    return encoded.inputs
