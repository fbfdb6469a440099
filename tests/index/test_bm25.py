from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import fast_folder, files

from lsr.errors import ConfigError, DataError, IndexFormatError
from lsr.index import bm25_build
from lsr.index.bm25 import Bm25Leg
from lsr.index.bm25_search import Bm25Searcher
from lsr.index.check import check_folder
from lsr.index.index import Index
from lsr.index.search import load_kernels
from lsr.sparse import SparseVectors
from lsr.types import Document

WORDS = [f"w{number}" for number in range(60)]


@pytest.fixture(autouse=True, scope="module")
def _kernels() -> None:
    load_kernels()


def corpus(count: int, seed: int = 0) -> list[Document]:
    """Return documents of Zipfian words, some of them without any."""
    rng = random.Random(seed)
    shares = [1 / (number + 1) for number in range(len(WORDS))]
    return [
        Document(
            f"d{number}",
            " ".join(rng.choices(WORDS, shares, k=rng.randint(0, 3))),
            " ".join(rng.choices(WORDS, shares, k=rng.choice([0, 3, 9, 30]))) or "…",
            {"even": number % 2 == 0},
        )
        for number in range(count)
    ]


def index_of(
    path: Path, documents: list[Document], leg: Bm25Leg, batch: int | None = None
) -> Index:
    index = Index.create(path, legs=[leg])
    for start in range(0, len(documents), batch or max(1, len(documents))):
        index.add(documents[start : start + (batch or len(documents))])
        index.commit()
    return index


def by_hand(documents: list[Document], query: dict[str, float], leg: Bm25Leg) -> dict[str, float]:
    """Return the score of each document that has one, by the formula in float64."""
    terms = leg.analysis.document_terms
    counts, lengths = {}, {}
    for one in documents:
        title, text = terms(one.title), terms(one.text)
        found: Counter[str] = Counter()
        for words, weight in ((title, leg.title), (text, leg.text)):
            for word in words:
                found[word] += weight  # type: ignore[assignment]
        counts[one.id] = +found
        lengths[one.id] = leg.title * len(title) + leg.text * len(text)
    mean = sum(lengths.values()) / max(1, len(lengths))
    scores: dict[str, float] = {}
    for term, times in query.items():
        frequency = sum(term in found for found in counts.values())
        idf = math.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5))
        for name, found in counts.items():
            if found[term]:
                rest = leg.k1 * (1 - leg.b + leg.b * lengths[name] / mean)
                part = times * idf * found[term] / (found[term] + rest)
                scores[name] = scores.get(name, 0.0) + part
    return scores


def check(index: Index, documents: list[Document], leg: Bm25Leg, query: str, k: int = 10) -> None:
    asked = {term: float(n) for term, n in Counter(leg.analysis.query_terms(query)).items()}
    wanted = by_hand(documents, asked, leg)
    result = index.search(query, k=k, mode="bm25")
    assert len(result.ids) == min(k, len(wanted))
    best = sorted(wanted.values(), reverse=True)[:k]
    np.testing.assert_allclose(result.scores, best, rtol=2e-5)
    for name, score in zip(result.ids, result.scores, strict=True):
        assert score == pytest.approx(wanted[name], rel=2e-5)
    pairs = list(zip([-score for score in result.scores], result.ids, strict=True))
    assert pairs == sorted(pairs)


@pytest.mark.parametrize(
    "leg",
    [
        Bm25Leg(analyzer="standard"),
        Bm25Leg(k1=1.2, b=0.75, title=3.0, text=0.5),
        Bm25Leg(k1=0.0, b=1.0, title=0.0),
        Bm25Leg(k1=50.0, b=0.0, title=0.25),
    ],
)
def test_scores_are_those_of_the_formula(tmp_path: Path, leg: Bm25Leg) -> None:
    documents = corpus(300)
    index = index_of(tmp_path / "i", documents, leg, batch=120)
    for query in ("w0 w7", "w3", "w59 w58 w57 w1 w1 w1", "w2 unknown", "unknown", ""):
        check(index, documents, leg, query)
        check(index, documents, leg, query, k=400)


def test_scores_and_ranks_are_those_of_bm25s_on_the_same_tokens(tmp_path: Path) -> None:
    bm25s = pytest.importorskip("bm25s")
    documents, leg = corpus(400, seed=3), Bm25Leg(k1=1.5, b=0.75, analyzer="standard")
    index = index_of(tmp_path / "i", documents, leg, batch=150)
    terms = leg.analysis.document_terms
    engine = bm25s.BM25(k1=1.5, b=0.75, method="lucene", backend="numpy")
    engine.index([terms(d.title) + terms(d.text) or ["-"] for d in documents], show_progress=False)
    # bm25s wants a token in each document; the lengths of those without one are 0 all the same.
    empty = sum(not terms(d.full_text()) for d in documents)
    mean = sum(len(terms(d.full_text())) for d in documents) / len(documents)
    searcher = index.searcher("bm25")
    assert isinstance(searcher, Bm25Searcher) and searcher.mean_length == pytest.approx(mean)
    scale = (mean * len(documents) + empty) / (mean * len(documents))
    for query in ("w0 w5 w9", "w1", "w40 w41 w3"):
        asked = terms(query)
        theirs = engine.get_scores(asked)
        result = index.search(query, k=len(documents))
        ours = np.zeros(len(documents), np.float32)
        for name, score in zip(result.ids, result.scores, strict=True):
            ours[int(name[1:])] = score
        # The empty token lengthens their mean by a part in a thousand.
        np.testing.assert_allclose(ours, theirs, rtol=4 * (scale - 1) + 1e-4, atol=1e-4)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "delete", "merge"]), st.integers(0, 30)), max_size=12
    )
)
@settings(max_examples=15, deadline=None)
def test_any_history_scores_as_one_add_of_what_is_left(steps: list[tuple[str, int]]) -> None:
    documents, leg = corpus(31, seed=5), Bm25Leg(analyzer="standard", title=2.0)
    with fast_folder() as folder:
        index = index_of(folder / "many", documents[:9], leg, batch=4)
        alive = {one.id: one for one in documents[:9]}
        for what, number in steps:
            if what == "add":
                changed = Document(f"d{number}", "w1", documents[(number * 7) % 31].text)
                index.upsert([changed])
                alive.pop(changed.id, None)
                alive[changed.id] = changed
            elif what == "delete":
                index.delete([f"d{number}"])
                alive.pop(f"d{number}", None)
            else:
                index.merge("all")
            index.commit()
        once = index_of(folder / "once", list(alive.values()), leg)
        for query in ("w0 w1 w2", "w5", "w9 w30"):
            ours, wanted = index.search(query, k=50), once.search(query, k=50)
            assert (ours.ids, ours.scores) == (wanted.ids, wanted.scores)
        index.merge("all")
        if alive:
            [one], [other] = (sorted((i.path / "legs").iterdir()) for i in (index, once))
            assert files(one) == files(other)


def test_windows_and_batches_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, leg = corpus(200, seed=2), Bm25Leg(analyzer="standard")
    wide = index_of(tmp_path / "wide", documents, leg)
    monkeypatch.setattr(bm25_build, "WINDOW_POSTINGS", 150)
    narrow = index_of(tmp_path / "narrow", documents, leg, batch=70)
    narrow.merge("all")
    again = index_of(tmp_path / "again", documents, leg)
    [one], [other] = (sorted((path / "legs").iterdir()) for path in (narrow.path, again.path))
    assert files(one) == files(other)
    for query in ("w0 w1 w2 w3", "w7 w20"):
        ours, wanted = narrow.search(query, k=30), wide.search(query, k=30)
        assert (ours.ids, ours.scores) == (wanted.ids, wanted.scores)
    assert check_folder(narrow.path).ok and check_folder(wide.path).ok


def test_the_first_searches_of_a_process_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lsr.index import search as engine

    documents, leg = corpus(200, seed=9), Bm25Leg(analyzer="standard")
    index = index_of(tmp_path / "i", documents, leg, batch=90)
    index.delete(["d3", "d100"])
    index.commit()
    queries = ["w0 w3 w9", "w55 w1", "w2 w2 w4"]
    warm = [index.search(query, k=20) for query in queries]
    monkeypatch.setattr(engine._engine, "kernels", None)
    monkeypatch.setattr(engine._engine, "cold_seconds", -1e9)
    cold = [index.search(query, k=20) for query in queries]
    assert [(a.ids, a.scores) for a in cold] == [(b.ids, b.scores) for b in warm]


def test_filters_and_deletes_hold_and_k_survivors_come(tmp_path: Path) -> None:
    documents, leg = corpus(300, seed=4), Bm25Leg(analyzer="standard")
    index = index_of(tmp_path / "i", documents, leg, batch=130)
    everything = index.search("w0 w1", k=300)
    kept = index.search("w0 w1", k=300, filter="even = true")
    scores = dict(zip(everything.ids, everything.scores, strict=True))
    assert kept.ids == [name for name in everything.ids if int(name[1:]) % 2 == 0]
    assert kept.scores == [scores[name] for name in kept.ids]
    few = index.search("w0 w1", k=3, filter='_id in ["d7", "d8", "d250"]')
    assert set(few.ids) <= {"d7", "d8", "d250"}
    index.delete(everything.ids[:5])
    index.commit()
    assert not set(everything.ids[:5]) & set(index.search("w0 w1", k=300).ids)
    left = [one for one in documents if one.id not in everything.ids[:5]]
    check(index, left, leg, "w0 w1")


def test_score_and_explain_agree_with_search(tmp_path: Path) -> None:
    documents, leg = corpus(150, seed=6), Bm25Leg(analyzer="standard", title=2.0)
    index = index_of(tmp_path / "i", documents, leg, batch=60)
    index.delete(["d2"])
    index.commit()
    searcher = index.searcher("bm25")
    query = "w0 w4 w4 w30"
    found = searcher.search(query, 40)
    assert searcher.score(query, found.segments, found.documents).tolist() == found.scores.tolist()
    result = index.search(query, k=40)
    for at, hit in enumerate(result):
        explained = index.explain(query, hit.id)
        assert explained is not None and explained.score == hit.score
        assert sum(term.product for term in explained.terms) == pytest.approx(hit.score, rel=1e-5)
        assert result.why(at) == explained.terms
        assert {term.token for term in explained.terms} <= {"w0", "w4", "w30"}
    missing = index.explain("w0", "d2")
    assert missing is None
    nothing = index.explain("unknown", "d1")
    assert nothing is not None and (nothing.score, nothing.terms) == (0.0, ())


def test_a_query_may_be_terms_with_weights(tmp_path: Path) -> None:
    documents, leg = corpus(80, seed=8), Bm25Leg(analyzer="standard")
    index = index_of(tmp_path / "i", documents, leg)
    wanted = by_hand(documents, {"w1": 0.5, "w2": 2.0}, leg)
    result = index.search({"w1": 0.5, "w2": 2.0}, k=80)
    assert set(result.ids) == set(wanted)
    np.testing.assert_allclose(result.scores, [wanted[name] for name in result.ids], rtol=2e-5)
    with pytest.raises(DataError, match="'w1' is nan"):
        index.search({"w1": float("nan")})
    with pytest.raises(ConfigError, match="a text or for terms with weights"):
        index.search({3: 1.0})


def test_searcher_tells_counts_and_idf(tmp_path: Path) -> None:
    documents = [Document("a", "cat", "cat dog"), Document("b", "", "dog dog")]
    index = index_of(tmp_path / "i", documents, Bm25Leg(analyzer="standard", title=2.0))
    searcher = index.searcher("bm25")
    assert isinstance(searcher, Bm25Searcher)
    assert searcher.counts(0, 0) == {"cat": 3.0, "dog": 1.0}
    assert searcher.idf("cat") == pytest.approx(math.log(2)) and searcher.idf("cow") == 0.0
    assert searcher.statistics() == {
        "documents": 2, "mean_length": 3.0, "terms": 2, "postings": 3,
    }  # fmt: skip


def test_batches_are_answered_as_one_by_one(tmp_path: Path) -> None:
    index = index_of(tmp_path / "i", corpus(100), Bm25Leg(analyzer="standard"))
    queries = [f"w{at} w{at + 1}" for at in range(40)]
    one_by_one = [index.search(query, k=5).ids for query in queries]
    assert [one.ids for one in index.search_batch(queries, k=5, threads=3)] == one_by_one
    with pytest.raises(ConfigError, match="threads is 0"):
        index.search_batch(queries, threads=0)
    with pytest.raises(ConfigError, match="k is 0"):
        index.search("w1", k=0)


def test_an_index_without_words_is_searched_in_vain(tmp_path: Path) -> None:
    documents = [Document("a", text="…"), Document("b", text="!")]
    index = index_of(tmp_path / "i", documents, Bm25Leg())
    assert index.search("anything").ids == []
    index.add([Document("c", text="words at last")])
    index.commit()
    assert index.search("words").ids == ["c"]
    index.merge("all")
    assert index.search("words").ids == ["c"] and check_folder(index.path).ok
    empty = Index.create(tmp_path / "empty", legs=["bm25"])
    assert empty.search("anything").ids == []


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"k1": -1.0}, {"b": 1.5}, {"title": 0.0, "text": 0.0}, {"text": math.nan}):
        with pytest.raises(ConfigError):
            Bm25Leg(**wrong)
    with pytest.raises(IndexFormatError, match="settings of the BM25 leg"):
        Bm25Leg.from_json({"k2": 1})


def test_an_index_whose_tokenizer_is_gone_can_still_be_opened_and_freed_of_the_leg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lsr.model_files import find_model

    mine = tmp_path / "tokenizer.json"
    mine.write_bytes((find_model("bundled") / "tokenizer.json").read_bytes())
    monkeypatch.chdir(tmp_path)
    with Index.create(tmp_path / "i", vocab_size=4, encoder=None) as index:
        index.add(
            [Document("a", text="jumping foxes")],
            vectors=SparseVectors.from_dicts([{1: 1.0}], vocab_size=4),
        )
    index.add_leg(Bm25Leg(analyzer="hf:tokenizer.json"))
    assert index.search("jumping", mode="bm25").ids == ["a"]
    monkeypatch.chdir("/")
    assert Index.open(tmp_path / "i").search("foxes", mode="bm25").ids == ["a"]
    mine.write_bytes(mine.read_bytes().replace(b"[MASK]", b"[MUSK]"))
    changed = Index.open(tmp_path / "i")
    assert changed.search({1: 1.0}).ids == ["a"] and check_folder(tmp_path / "i").ok
    with pytest.raises(ConfigError, match="not the tokenizer that the index was made with"):
        changed.search("foxes", mode="bm25")
    changed.remove_leg("bm25")
    assert changed.legs == ("sparse",)


def test_damage_beyond_checksums_is_found(tmp_path: Path) -> None:
    index = index_of(tmp_path / "i", corpus(30), Bm25Leg())
    part: Any = index.snapshot.segments[0].legs["bm25"]
    assert part.problems() == []
    part.frequency = part.frequency + 1
    assert "frequencies of its terms" in part.problems()[0]
    part.counts = part.counts * np.float32(np.nan)
    assert "a count is not a number" in part.problems()[1]


def test_scifact_has_the_published_figure(shared: Path, tmp_path: Path) -> None:
    import ir_measures
    from ir_measures import R, nDCG

    from lsr.corpus import read_documents
    from lsr.qrels import read_qrels
    from lsr.queries import read_queries

    folder = shared / "data" / "scifact"
    index = index_of(
        tmp_path / "i", [record.document for record in read_documents(str(folder))], Bm25Leg()
    )
    grades = read_qrels(str(folder / "qrels" / "test.tsv")).grades
    run = [
        ir_measures.ScoredDoc(query.id, hit, score)
        for query in read_queries(str(folder / "queries.jsonl"))
        if query.id in grades
        for result in [index.search(query.text, k=100)]
        for hit, score in zip(result.ids, result.scores, strict=True)
    ]
    found = ir_measures.calc_aggregate([nDCG @ 10, R @ 100], grades, run)
    assert found[nDCG @ 10] == pytest.approx(0.679, abs=0.01)
    assert found[R @ 100] == pytest.approx(0.925, abs=0.02)
