"""Reader: what can be asked of an index."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np

from lsr.encoder import Encoder, load_encoder
from lsr.errors import ConfigError, DataError, ModelError
from lsr.sparse import SparseVector, SparseVectors
from lsr.types import Document, Explanation, SearchResult, SearchStats

from .answer import Answer, explanation, passage_of
from .blended import ask_legs, to_blend
from .feedback import Feedback
from .found import Found
from .fusion import Fusion, Method
from .hybrid import DEPTH, HYBRID
from .info import IndexInfo, describe
from .knobs import Knobs
from .leg_answer import leg_result, refuse_sparse_options
from .legs import MAKERS, SPARSE, Allowed, LegSearcher
from .neighbours import find_like, own_vector, score_documents
from .planner import Effort, Path
from .query import Query, is_sound, to_vectors
from .search import search, search_many
from .settings import IndexSettings
from .sparse_leg import SparseSearcher
from .store import Snapshot, Store
from .view import View

if TYPE_CHECKING:
    from .filters import Filter


class Reader:
    """The reading half of an Index: searches, documents and vectors of one commit."""

    def __init__(self, store: Store, settings: IndexSettings, encoder: Encoder | None) -> None:
        self._store = store
        self._settings = settings
        self._view = View(store.snapshot())
        self._query_encoder = encoder
        self._document_encoder = encoder

    @property
    def path(self) -> FilePath:
        """The folder of the index."""
        return self._store.path

    @property
    def settings(self) -> IndexSettings:
        """What was decided when the index was made."""
        return self._settings

    @property
    def generation(self) -> int:
        """The number of the commit this object reads."""
        return self._view.snapshot.generation

    @property
    def snapshot(self) -> Snapshot:
        """The commit this object reads: its segments, metadata fields and manifest."""
        return self._view.snapshot

    @property
    def is_calibrated(self) -> bool:
        """Whether the index knows what recall costs, and searches approximately by default."""
        return self._view.calibration is not None

    @property
    def encoder(self) -> Encoder:
        """The encoder of queries, loaded now if it was not."""
        if self._query_encoder is None:
            self._query_encoder = self._load("query")
        return self._query_encoder

    def __len__(self) -> int:
        return len(self._view)

    def __contains__(self, document_id: object) -> bool:
        return isinstance(document_id, str) and self._view.locate(document_id) is not None

    def __iter__(self) -> Iterator[Document]:
        return iter(self._view)

    def get(self, document_id: str) -> Document | None:
        """Return the document with this id, or None."""
        where = self._view.locate(document_id)
        return None if where is None else where[0].segment.document(where[1])

    def search(
        self,
        query: Query,
        *,
        k: int = 10,
        filter: str | Mapping[str, object] | Filter | None = None,
        exact: bool = False,
        recall: float | None = None,
        path: Path | None = None,
        knobs: Knobs | None = None,
        mode: str | None = None,
        fusion: Fusion | Method | None = None,
        feedback: Feedback | bool = False,
        depth: int | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> SearchResult:
        """Return the k best live documents, best first; equal scores are ordered by id.

        `mode` names the leg to search, `sparse` where the index has it, or is `hybrid`: all legs
        are searched to `depth` (1000) and their rankings fused as `fusion` says (lsr.index.fusion;
        `rrf` by default). `feedback` makes the query richer by what it found, in any mode
        (lsr.index.feedback). `given` has queries for single legs, such as a dense vector; the
        others take `query`. What follows is about the sparse leg; others are described in their
        modules, and of these options know `k` and `filter` only.

        Every score is true: the float32 inner product of the query's and the document's vectors,
        terms added in ascending order. A document that shares no term with the query is not a
        hit, so fewer than k may come back. `filter` is a text such as
        `year >= 2020 and lang = "en"` or its structure; see lsr.index.filters.

        With `exact` the k best are found for certain. Otherwise an index that is calibrated
        (`lsr index`, `merge` and `calibrate` see to it when it has 20,000 rows and more) finds
        `recall` of them on average, by default 0.99, in less time. `path` insists on a way
        ("exact", "accumulate", or "blocks" in an index that has them), `knobs` (SearchKnobs,
        BlockKnobs) set its effort by hand.

        >>> [hit.id for hit in index.search("loud dogs", k=1, filter='_id in ["b"]')]
        ['b']
        """
        started = time.perf_counter()
        view = self._view
        chosen = self._mode(mode)
        allowed = view.allowed(filter)
        blend = to_blend(chosen, k, fusion, feedback, depth)
        if blend is not None:
            legs = self._searchers(view, chosen, Effort(exact, recall, path, knobs))
            answers = ask_legs(view.snapshot.segments, legs, [query], [given], k, blend, allowed)
            return answers[0].result(chosen)
        query = (given or {}).get(chosen, query)
        if chosen != SPARSE:
            refuse_sparse_options(chosen, recall=recall, path=path, knobs=knobs)
            return self._leg_result(view, chosen, [query], k, allowed, started)[0]
        asked = view.choose(
            k, filtered=allowed is not None, exact=exact, recall=recall, path=path, knobs=knobs
        )
        vector = self.vector(query)
        found = search(view.snapshot.segments, vector, k, allowed, asked)
        return self._result(view, found, vector, started)

    def search_batch(
        self,
        queries: Sequence[Query],
        *,
        k: int = 10,
        filter: str | Mapping[str, object] | Filter | None = None,
        exact: bool = False,
        recall: float | None = None,
        path: Path | None = None,
        knobs: Knobs | None = None,
        mode: str | None = None,
        fusion: Fusion | Method | None = None,
        feedback: Feedback | bool = False,
        depth: int | None = None,
        given: Sequence[Mapping[str, Any] | None] | None = None,
        threads: int | None = None,
    ) -> list[SearchResult]:
        """Return the result of each query, in order; `threads` of them are searched at a time.

        The same results as `search` one by one, whatever the number of threads; the vectors of
        many texts encoded together may differ from those of one in float32's last digit.
        """
        view = self._view
        chosen = self._mode(mode)
        allowed = view.allowed(filter)
        own = given or [None] * len(queries)
        blend = to_blend(chosen, k, fusion, feedback, depth)
        if blend is not None:
            legs = self._searchers(view, chosen, Effort(exact, recall, path, knobs))
            segments = view.snapshot.segments
            answers = ask_legs(segments, legs, queries, own, k, blend, allowed, threads)
            return [answer.result(chosen) for answer in answers]
        queries = [(one or {}).get(chosen, query) for one, query in zip(own, queries, strict=True)]
        if chosen != SPARSE:
            refuse_sparse_options(chosen, recall=recall, path=path, knobs=knobs)
            began = time.perf_counter()
            return self._leg_result(view, chosen, queries, k, allowed, began, threads)
        asked = view.choose(
            k, filtered=allowed is not None, exact=exact, recall=recall, path=path, knobs=knobs
        )
        vectors = to_vectors(queries, lambda: self.encoder, threads=threads)
        started = time.perf_counter()
        found = search_many(view.snapshot.segments, vectors, k, allowed, threads, asked)
        pairs = zip(vectors, found, strict=True)
        return [self._result(view, one, vector, started) for vector, one in pairs]

    def explain(
        self,
        query: Query,
        document_id: str,
        *,
        mode: str | None = None,
        fusion: Fusion | Method | None = None,
        feedback: Feedback | bool = False,
        depth: int | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> Explanation | None:
        """Return the terms that the query and the document share, largest product first.

        The products sum to the score that `search` gives the document in that mode, up to float32
        rounding. None when the index has no such document; no terms and score 0 when they share
        none. Of a hybrid search, or one with feedback, `legs` has what each leg made of the
        document and the terms that feedback added; it is None, too, for a document that no leg
        finds within the depth.
        """
        view, chosen = self._view, self._mode(mode)
        where = view.locate(document_id)
        if where is None:
            return None
        blend = to_blend(chosen, DEPTH, fusion, feedback, depth)
        if blend is not None:
            legs = self._searchers(view, chosen, Effort())
            segments = view.snapshot.segments
            [answer] = ask_legs(segments, legs, [query], [given], blend.depth, blend)
            return answer.explanation(document_id)
        query = (given or {}).get(chosen, query)
        if chosen == SPARSE:
            return explanation(where[0], where[1], self.vector(query), self.token)
        number = next(at for at, live in enumerate(view.snapshot.segments) if live is where[0])
        searcher = self._searcher(view, chosen)
        [score] = searcher.score(query, np.array([number]), np.array([where[1]])).tolist()
        live, ordinal = where
        terms = searcher.explain(query, number, ordinal)
        document = live.segment.document(ordinal)
        passage = passage_of(
            live.segment, ordinal, document.text, lambda: searcher.passage(query, number, ordinal)
        )
        return Explanation(document_id, score, terms, passage)

    def score(
        self, query: Query, ids: Sequence[str], *, missing: float | None = None
    ) -> list[float]:
        """Return the true scores of the documents with these ids, in that order.

        Bit for bit what exact search gives them: the best passage counts, and a document that
        shares no term with the query scores 0.0. An id may come twice. One that no live document
        has raises DataError, unless `missing` is the score to give it. The cost is a look-up and
        a random access for each id; no postings are read.

        >>> best = index.search("cats")[0]
        >>> index.score("cats", [best.id, "z"], missing=0.0) == [best.score, 0.0]
        True
        """
        return score_documents(self._view.snapshot.segments, self.vector(query), ids, missing)

    def more_like(
        self,
        document_id: str,
        *,
        k: int = 10,
        filter: str | Mapping[str, object] | Filter | None = None,
    ) -> SearchResult:
        """Return the k live documents closest to a document of the index, itself left out.

        Its own vector is the query: the inner product of the two vectors is the score. Of a
        document with passages, each term has the largest weight that any passage gives it.
        Raises DataError when no live document has that id.
        """
        started = time.perf_counter()
        view = self._view
        segments, allowed = view.snapshot.segments, view.allowed(filter)
        asked: list[SparseVector] = []

        def find(vector: SparseVector, n: int) -> Found:
            asked.append(vector)
            return search(segments, vector, n, allowed)

        found = find_like(segments, document_id, k, find)
        return self._result(view, found, asked[0], started)

    def own_vector(self, document_id: str) -> SparseVector:
        """Return the vector that `more_like` searches for. Raises DataError for an unknown id."""
        where = self._view.locate(document_id)
        if where is None:
            raise DataError(f"the index has no document {document_id!r}")
        return own_vector(*where)

    def token(self, term: int) -> str:
        """Return the text of a term, or its number where the index has no vocabulary."""
        return str(term) if self._settings.encoder_name is None else self.encoder.token(term)

    def vector(self, query: Query) -> SparseVector:
        """Return the sparse vector of a query; terms outside the vocabulary are left out."""
        if type(query) is SparseVector and is_sound(query):
            return query
        return to_vectors([query], lambda: self.encoder)[0]

    def vectors(self, batch: int = 4096) -> Iterator[tuple[list[str], SparseVectors]]:
        """Return ids and vectors of all live rows, `batch` at a time, in index order.

        In an index with passages a document's id comes once for each of its passages.
        """
        for live in self._view.snapshot.segments:
            segment = live.segment
            for start in range(0, segment.n_rows, batch):
                stop = min(start + batch, segment.n_rows)
                documents = segment.row_documents(np.arange(start, stop))
                vectors = segment.vectors(start, stop)
                if live.deleted is not None:
                    keep = ~live.deleted[documents]
                    documents, vectors = documents[keep], vectors.take(np.flatnonzero(keep))
                if len(documents):
                    yield segment.ids(documents), vectors

    def info(self) -> IndexInfo:
        """Return counts, sizes and settings of the index as this object sees it."""
        return describe(self._store, self._view.snapshot, self._settings)

    def refresh(self) -> int:
        """Read the newest commit from now on; return its generation."""
        self._view = View(self._store.snapshot())
        return self.generation

    @property
    def legs(self) -> tuple[str, ...]:
        """The names of the legs, each of which is a mode to search in."""
        return self._view.legs

    def searcher(self, mode: str) -> LegSearcher:
        """Return what searches a leg other than `sparse` of the commit that this object reads."""
        if mode in (SPARSE, HYBRID):
            raise ConfigError(f"{mode} is not a leg with a searcher of its own")
        return self._searcher(self._view, self._mode(mode))

    def _mode(self, mode: str | None) -> str:
        """Return the leg to search: the one that is named, or `sparse`, or the first."""
        legs = self._view.legs
        if mode == HYBRID:
            if len(legs) < 2:
                raise ConfigError(
                    f"hybrid search needs two legs at least; this index has {', '.join(legs)}",
                    hint=f"add one: lsr legs {self.path} --add bm25",
                )
            return HYBRID
        chosen = mode or (SPARSE if SPARSE in legs else legs[0])
        if chosen not in legs:
            raise ConfigError(
                f"mode is {chosen!r}; this index has {', '.join(legs)}",
                hint=self._hint_for(chosen),
            )
        return chosen

    def _hint_for(self, mode: str) -> str:
        """Return what somebody may do who asked for a leg that is not there."""
        if mode not in MAKERS:
            return f"search with --mode {' or '.join(self._view.legs)}"
        model = " --dense-model MODEL" if mode == "dense" else ""
        return f"add the leg: lsr legs {self.path} --add {mode}{model}"

    def _searcher(self, view: View, name: str) -> LegSearcher:
        return view.searcher(name, lambda: self._store.legs(view.snapshot.manifest.settings))

    def _leg_result(
        self,
        view: View,
        name: str,
        queries: Sequence[Query],
        k: int,
        allowed: Allowed,
        started: float,
        threads: int | None = None,
    ) -> list[SearchResult]:
        """Return what a leg finds for each query."""
        if k < 1:
            raise ConfigError(f"k is {k}; it must be at least 1")
        searcher = self._searcher(view, name)
        if len(queries) == 1:
            found = [searcher.search(queries[0], k, allowed)]
        else:
            found = searcher.search_many(queries, k, allowed, threads)
        took = time.perf_counter() - started
        return [
            leg_result(view.snapshot.segments, name, searcher, query, one, took)
            for query, one in zip(queries, found, strict=True)
        ]

    def _searchers(self, view: View, mode: str, effort: Effort) -> dict[str, LegSearcher]:
        """Return the legs that a mode searches."""
        names = view.legs if mode == HYBRID else (mode,)
        return {
            name: self._sparse(view, effort) if name == SPARSE else self._searcher(view, name)
            for name in names
        }

    def _sparse(self, view: View, effort: Effort) -> SparseSearcher:
        """Return the sparse leg as hybrid search takes it."""

        def knobs(k: int, filtered: bool) -> Knobs | None:
            return view.choose(k, filtered=filtered, **effort._asdict())

        def vectors(queries: Sequence[Query], threads: int | None) -> list[SparseVector]:
            return to_vectors(queries, lambda: self.encoder, threads=threads)

        return SparseSearcher(view.snapshot.segments, vectors, self.token, knobs)

    def _result(
        self, view: View, found: Found, vector: SparseVector, started: float
    ) -> SearchResult:
        took = time.perf_counter() - started
        stats = SearchStats(found.postings, found.scored, took * 1e6, found.blocks)
        answer = Answer(view.snapshot.segments, found, vector, self.token)
        return SearchResult(answer, found.path, took * 1e3, stats)

    def _load(self, side: str) -> Encoder:
        name = self._settings.encoder_name
        if name is None:
            raise ConfigError(
                "this index was made from vectors and has no encoder, so it cannot read text",
                hint="search it with a vector: `lsr search DIR --vector '{\"17\": 1.2}'`",
            )
        return self._checked(load_encoder(name, side="query" if side == "query" else "both"))

    def _checked(self, encoder: Encoder) -> Encoder:
        wanted = self._settings.encoder_fingerprint
        if wanted is not None and encoder.fingerprint != wanted:
            raise ModelError(
                f"{self.path} was made with encoder {self._settings.encoder_name!r} "
                f"({wanted}), but that name now holds another model ({encoder.fingerprint})",
                hint="give the folder of the right model with --model, or index again",
            )
        return encoder
