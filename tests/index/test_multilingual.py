"""BM25 on text of many languages, with the analyzer that each asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsr.corpus import read_documents
from lsr.eval.measures import mean, measure_run
from lsr.index.bm25 import Bm25Leg
from lsr.index.index import Index
from lsr.qrels import read_qrels
from lsr.queries import read_queries
from lsr.types import Document


def index_of(path: Path, documents: list[Document], analyzer: str) -> Index:
    with Index.create(path, legs=[Bm25Leg(analyzer=analyzer)]) as index:
        index.add(documents)
    return index


def quality(folder: Path, index: Index, most: int | None = None) -> tuple[float, int]:
    """Return nDCG@10 over the judged queries of a BEIR folder, and how many found nothing."""
    grades = read_qrels(str(next((folder / "qrels").glob("*.tsv")))).grades
    queries = [one for one in read_queries(str(folder / "queries.jsonl")) if one.id in grades]
    asked = queries[:most]
    results = index.search_batch([one.text for one in asked], k=10, threads=1)
    run = {
        query.id: dict(zip(result.ids, result.scores, strict=True))
        for query, result in zip(asked, results, strict=True)
    }
    judged = {query.id: grades[query.id] for query in asked}
    empty = sum(not result.ids for result in results)
    return mean(measure_run(judged, run, ["nDCG@10"])["nDCG@10"]), empty


@pytest.mark.parametrize(
    ("language", "analyzer", "least"),
    [
        ("en", "en", 0.95),
        ("de", "de", 0.93),
        ("es", "es", 0.93),
        ("hi", "hi", 0.90),
        ("zh", "zh", 0.90),
        ("zh", "en", 0.90),  # the wrong language, and still every question finds its words
        ("hi", "hf:bundled", 0.0),
    ],
)
def test_questions_find_their_paragraphs(
    shared: Path, tmp_path: Path, language: str, analyzer: str, least: float
) -> None:
    folder = shared / "data" / "xquad" / language
    documents = [record.document for record in read_documents(str(folder))]
    found, empty = quality(folder, index_of(tmp_path / "i", documents, analyzer), 400)
    assert found >= least and empty == 0, found


def test_questions_of_one_language_are_judged_on_paragraphs_of_another(
    shared: Path, tmp_path: Path
) -> None:
    """By ids alone; names and numbers are what the two languages share."""
    english, german = (shared / "data" / "xquad" / one for one in ("en", "de"))
    documents = [record.document for record in read_documents(str(german))]
    index = index_of(tmp_path / "i", documents, "standard")
    found, _ = quality(english, index, 300)
    assert 0.2 < found < 0.9, found


def test_yoruba_finds_words_with_tone_marks(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "miracl-yo"
    grades = read_qrels(str(next((folder / "qrels").glob("*.tsv")))).grades
    judged = {document for of in grades.values() for document in of}
    documents = [
        record.document
        for number, record in enumerate(read_documents(str(folder)))
        if number % 12 == 0 or record.document.id in judged
    ]
    found, empty = quality(folder, index_of(tmp_path / "i", documents, "standard"))
    assert found > 0.6 and empty == 0, found


def test_every_document_of_a_mixed_corpus_is_found_by_its_own_words(
    shared: Path, tmp_path: Path
) -> None:
    documents = []
    for language in ("en", "de", "es", "hi", "zh"):
        with (shared / "data" / "xquad" / language / "corpus.jsonl").open() as lines:
            for line in list(lines)[:40]:
                one = json.loads(line)
                documents.append(Document(f"{language}-{one['_id']}", text=one["text"]))
    index = index_of(tmp_path / "i", documents, "en")
    for document in documents:
        assert index.search(document.text[:120], k=1).ids == [document.id]
