"""Search in numpy, for the first queries of a process: sooner done than kernels are loaded.

Loading the compiled kernels takes half a second, compiling them ten; numpy answers a query over
100,000 documents in milliseconds. The results are the same to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .windows import RECORD, TIERS

if TYPE_CHECKING:
    from .searchable import Searchable

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Most = npt.NDArray[np.float64]


def accumulate(
    segment: Searchable,
    deleted: npt.NDArray[np.bool_] | None,
    allowed: npt.NDArray[np.bool_] | None,
    terms: npt.NDArray[np.int64],
    weights: Scores,
    k: int,
    threshold: float,
) -> tuple[Rows, Scores]:
    """Return rows and scores of the k best documents; the terms ascend, below the vocabulary.

    What `kernels.accumulate` does with credit 1, on whole arrays: see there.
    """
    most = _most(segment, terms, weights)
    rows = np.flatnonzero(most > 0)
    documents = _documents(segment, rows)
    for mask, wanted in ((deleted, False), (allowed, True)):
        if mask is not None:
            live = mask[documents] == wanted
            rows, documents = rows[live], documents[live]
    least = float(threshold)
    if len(np.unique(documents)) > k:
        # The k-th of some true scores is a score that the k best reach.
        look = rows[np.argsort(-most[rows], kind="stable")[: 2 * k + 8]]
        least = max(least, _kth(segment, look, score_rows(segment, terms, weights, look), k))
    rows = rows[most[rows] * (1 + 1e-4) >= least]
    found = score_rows(segment, terms, weights, rows)
    reached = (found >= threshold) & (found > 0)
    rows, found = rows[reached], found[reached]
    documents = _documents(segment, rows)
    if segment.row_document is not None:
        best = np.lexsort((rows, -found, documents))
        best = best[np.diff(documents[best], prepend=np.int64(-1)) != 0]
        rows, documents, found = rows[best], documents[best], found[best]
    order = np.lexsort((segment.id_rank[documents], -found))[:k]
    return rows[order], found[order]


def score_rows(
    segment: Searchable, terms: npt.NDArray[np.int64], weights: Scores, listed: Rows
) -> Scores:
    """Return the scores of the listed rows."""
    indptr, row_terms, row_weights = segment.forward
    query = np.zeros(segment.vocab_size, np.float32)
    query[terms] = weights
    scores = np.zeros(len(listed), np.float32)
    if not len(listed):
        return scores
    lengths = indptr[listed + 1] - indptr[listed]
    owner = np.repeat(np.arange(len(listed)), lengths)
    ends = np.cumsum(lengths)
    entries = np.arange(ends[-1]) - np.repeat(ends - lengths - indptr[listed], lengths)
    entry_terms = row_terms[entries]
    shared = np.isin(entry_terms, terms)
    owner, entries, entry_terms = owner[shared], entries[shared], entry_terms[shared]
    with np.errstate(over="ignore", under="ignore"):
        weighed: Scores = row_weights[entries].astype(np.float32)
        if segment.saturation is not None:
            least, slope = segment.saturation.constants[:2]
            owners = segment.saturation.lengths[listed[owner]]
            weighed = weighed / (weighed + (least + slope * owners))
        products = query[entry_terms] * weighed
        # A running float32 total adds in order of the terms, as the kernels do: first the first
        # product of every row, then the second of those that have one, and so on.
        first = np.searchsorted(owner, np.arange(len(listed)))
        number = np.arange(len(owner)) - first[owner]
        for turn in range(int(number.max(initial=-1)) + 1):
            now = number == turn
            scores[owner[now]] += products[now]
    return scores


def _most(segment: Searchable, terms: npt.NDArray[np.int64], weights: Scores) -> Most:
    """Return the most that each row can score, by the rounded-up weights of the postings."""
    windows, lists, records, entries = segment.postings
    heads = np.asarray(records).view(np.float32)
    most = np.zeros(segment.n_rows, np.float64)
    slack = 1.0 if segment.saturation is None else float(segment.saturation.constants[2])
    for window, row in enumerate(windows[:-1].tolist()):
        total, first = most[row : windows[window + 1]], int(segment.forward[0][row])
        for term, weight in zip(terms.tolist(), weights.tolist(), strict=True):
            number = int(lists[window * segment.vocab_size + term]) - 1
            if number >= 0:
                at = number * RECORD
                span = slice(first + int(records[at + 1]), first + int(records[at + 1 + TIERS]))
                # A row comes once in a list.
                part = weight * float(heads[at]) * slack / 255
                total[entries[span] >> 8] += (entries[span] & 255) * part
    return most


def _kth(segment: Searchable, rows: Rows, scores: Scores, k: int) -> float:
    """Return the k-th best of the documents of the rows; 0 when there are fewer."""
    best: dict[int, float] = {}
    for document, score in zip(_documents(segment, rows).tolist(), scores.tolist(), strict=True):
        best[document] = max(score, best.get(document, 0.0))
    ranked = sorted(best.values(), reverse=True)
    return ranked[k - 1] if len(ranked) >= k else 0.0


def _documents(segment: Searchable, rows: Rows) -> npt.NDArray[np.int64]:
    return rows if segment.row_document is None else segment.row_document[rows].astype(np.int64)
