"""The loss of a batch: ranking losses and regularisers of a recipe, from vectors alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lsr.errors import ConfigError, DataError
from lsr.train.encoded import Encoded, Side
from lsr.train.guard import CollapseGuard
from lsr.train.ranking import (
    combine_teachers,
    infonce,
    kl,
    marginmse,
    own_scores,
    term_likelihood,
    term_mse,
)
from lsr.train.recipe import Recipe
from lsr.train.regulariser import Regulariser


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
        self.guard = CollapseGuard(recipe.model)
        self.sides: dict[Side, Regulariser] = {
            "query": Regulariser("query", recipe.regularise.query, idf, total_steps),
            "document": Regulariser("document", recipe.regularise.document, idf, total_steps),
        }

    def __call__(
        self, queries: Encoded, documents: Encoded, candidates: Candidates, step: int
    ) -> Loss:
        """Return the loss of a batch at `step` updates of the optimiser, computed in float32."""
        with torch.autocast(queries.vectors.device.type, enabled=False):
            return self._loss(queries, documents, candidates, step)

    def _loss(
        self, queries: Encoded, documents: Encoded, candidates: Candidates, step: int
    ) -> Loss:
        check_candidates(queries, documents, candidates)
        parts = self._ranking(queries, documents, candidates)
        values: dict[Side, Tensor | None] = {
            "query": self.sides["query"](queries, documents, 1, step),
            "document": self.sides["document"](documents, queries, candidates.group, step),
        }
        for side, value in values.items():
            if value is not None:
                parts[f"{side}_{self.sides[side].settings.kind}"] = value
        if not parts:
            raise ConfigError(
                "every loss of the recipe has weight 0", hint="--set rank.infonce.weight=1.0"
            )
        total = torch.stack(list(parts.values())).sum()
        statistics = self._observe(queries, documents, step)
        return Loss(total, {name: part.item() for name, part in parts.items()}, statistics)

    def state_dict(self) -> dict[str, Any]:
        """Return what training has changed here: tensors and plain values by name."""
        state: dict[str, Any] = {"guard.empty": self.guard.empty, "guard.full": self.guard.full}
        for side, regulariser in self.sides.items():
            state |= {f"{side}.{name}": value for name, value in regulariser.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.guard.empty = int(state.get("guard.empty", 0))
        self.guard.full = int(state.get("guard.full", 0))
        for side, regulariser in self.sides.items():
            regulariser.load_state_dict({
                name.removeprefix(f"{side}."): value
                for name, value in state.items()
                if name.startswith(f"{side}.")
            })  # fmt: skip

    @torch.no_grad()
    def _observe(self, queries: Encoded, documents: Encoded, step: int) -> dict[str, float]:
        """Return the statistics of a batch, after guard and regularisers have seen them."""
        statistics = {}
        for side, regulariser in self.sides.items():
            encoded = queries if side == "query" else documents
            terms = (encoded.vectors > 0).sum(1).float().mean().item()
            statistics[f"{side}_terms"] = terms
            statistics[f"{side}_lambda"] = regulariser.strength(step)
            regulariser.observe(encoded, terms, step)
        share = statistics["document_terms"] / documents.vectors.shape[1]
        statistics["active_share"] = share
        self.guard.check(
            terms=statistics["document_terms"],
            active_share=share,
            ramped=self.sides["document"].share(step) >= 1,
            step=step,
        )
        return statistics

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
            parts["term_mse"] = rank.term_mse * term_mse(
                documents.vectors[::group], _inputs(documents)[::group], _inputs(queries)
            )
        if rank.likelihood:
            parts["likelihood"] = rank.likelihood * term_likelihood(
                documents.vectors[::group], _inputs(queries)
            )
        if rank.document_likelihood and queries.reverse is not None:
            parts["document_likelihood"] = rank.document_likelihood * term_likelihood(
                queries.reverse, _inputs(documents)[::group]
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
