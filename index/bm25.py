"""BM25: the leg of words, in Lucene's variant, over titles and texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from lsr.analysis import Analyzer, make_analyzer
from lsr.errors import ConfigError, IndexFormatError

from .bm25_build import Bm25Writer, merge_parts
from .bm25_part import Bm25Part
from .bm25_search import Bm25Searcher
from .leg_files import PartFiles, PartWriter
from .legs import LegSource
from .store import LiveSegment


@dataclass(frozen=True)
class Bm25Leg:
    """BM25 with its settings.

    The score of a document is the sum over the query's terms, each as often as it comes, of
    idf · tf / (tf + k1 (1 - b + b · length / mean length)), with idf = ln(1 + (N - df + 0.5) /
    (df + 0.5)): the variant of Lucene 8 and later (Kamphuis et al., ECIR 2020). tf and length are
    those of title and text together, each times its weight (BM25F with one length, Robertson et
    al., CIKM 2004). N, df and the mean count the live documents of all segments, so that ten adds,
    updates and deletes score as one add of what is left does, before any merge.

    k1 and b are Anserini's by default. `analyzer` is a language or its code, `standard` (words as
    they are) or `hf:TOKENIZER`; see `lsr.analysis`.

    >>> Bm25Leg(analyzer="de", title=2.0).to_json()["analyzer"]
    {'name': 'german'}
    """

    k1: float = 0.9
    b: float = 0.4
    analyzer: str | Mapping[str, Any] = "english"
    title: float = 1.0
    text: float = 1.0

    name = "bm25"

    def __post_init__(self) -> None:
        if not 0 <= self.k1 < math.inf:
            raise ConfigError(f"k1 is {self.k1}; it must be 0 or more, and finite")
        if not 0 <= self.b <= 1:
            raise ConfigError(f"b is {self.b}; it must be from 0 to 1")
        weights = (self.title, self.text)
        if not (all(0 <= weight < math.inf for weight in weights) and max(weights) > 0):
            raise ConfigError(
                f"the weights of title and text are {self.title} and {self.text}; "
                "they must be 0 or more, and one of them above"
            )
        if isinstance(self.analyzer, str):
            # What comes from a manifest is looked at when it is needed: an index whose tokenizer is
            # gone can still be opened, searched by its other legs, and freed of this one.
            _ = self.analysis

    @cached_property
    def analysis(self) -> Analyzer:
        """What makes terms of text."""
        return make_analyzer(self.analyzer)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Bm25Leg:
        """Return the leg that a manifest describes."""
        try:
            return cls(**found)
        except TypeError as error:
            raise IndexFormatError(
                f"the settings of the BM25 leg cannot be read: {error}", hint="lsr check DIR"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the settings as the manifest keeps them."""
        kept = self.analysis.to_json() if isinstance(self.analyzer, str) else dict(self.analyzer)
        return {**asdict(self), "analyzer": kept}

    def writer(self, files: PartWriter) -> Bm25Writer:
        """Return what counts the terms of documents and writes a part."""
        return Bm25Writer(files, self.analysis, (self.title, self.text), (self.k1, self.b))

    def merge(self, sources: Sequence[LegSource], files: PartWriter) -> Mapping[str, Any]:
        """Write the live documents of the sources as one part; nothing is analysed anew."""
        return merge_parts(sources, files, (self.title, self.text), (self.k1, self.b))

    def open(self, files: PartFiles) -> Bm25Part:
        """Return a part for reading."""
        return Bm25Part(files)

    def searcher(self, segments: Sequence[LiveSegment]) -> Bm25Searcher:
        """Return what searches these segments."""
        return Bm25Searcher(segments, self.analysis, self.k1, self.b)
