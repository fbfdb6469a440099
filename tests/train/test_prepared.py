from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lsr.errors import DataError
from lsr.train.prepared import Prepared, prepare
from lsr.train.sampling import BatchPlan, choose_candidates
from lsr.train.settings_run import DataSettings, SourceSettings


def write(path: Path, rows: list[dict[str, object]]) -> SourceSettings:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return SourceSettings(path=str(path))


def pairs(tmp_path: Path, count: int, name: str = "pairs") -> SourceSettings:
    rows: list[dict[str, object]] = [
        {"query": f"{name} q{n}", "positive": f"{name} document {n} " + "word " * (n % 7)}
        for n in range(count)
    ]
    return write(tmp_path / f"{name}.jsonl", rows)


def made(tmp_path: Path, *sources: SourceSettings, **settings: object) -> Prepared:
    given = {"sources": list(sources), "documents_per_query": 1, **settings}
    return prepare(DataSettings.model_validate(given), tmp_path / "prepared", seed=1)


def test_equal_documents_have_one_number_and_count_once(tmp_path: Path) -> None:
    source = write(tmp_path / "p.jsonl", [
        {"query": "a", "positive": "x", "negatives": ["y", "y", "x"]},
        {"query": "b", "positive": "y", "negatives": ["z"]},
    ])  # fmt: skip
    data = made(tmp_path, source)
    assert (len(data), data.n_documents) == (2, 3)
    assert list(data.document_texts()) == ["x", "y", "z"]
    assert data.row(0).documents.tolist() == [0, 1]
    assert (data.row(1).query, data.row(1).line, data.row(1).n_positives) == ("b", 2, 1)
    assert data.place(1).endswith("p.jsonl:2")


def test_prepared_data_are_taken_again_until_a_source_or_setting_changes(tmp_path: Path) -> None:
    source = pairs(tmp_path, 4)
    first = made(tmp_path, source)
    stamp = (first.folder / "about.json").stat().st_mtime_ns
    again = made(tmp_path, source)
    assert (again.folder / "about.json").stat().st_mtime_ns == stamp
    assert made(tmp_path, source, max_negatives=3).key != first.key
    assert len(made(tmp_path, pairs(tmp_path, 5))) == 5


def test_missing_negatives_are_drawn_or_refused(tmp_path: Path) -> None:
    source = pairs(tmp_path, 6)
    data = made(tmp_path, source, documents_per_query=4)
    for at in range(len(data)):
        row = data.row(at).documents
        assert len(row) == len(set(row.tolist())) == 4
    assert "negatives drawn at random" in data.notes[0]
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: 3 negative\(s\) are missing"):
        made(tmp_path, source, documents_per_query=4, fill="none")
    with pytest.raises(DataError, match=r"has 6 different document\(s\).* needs 8"):
        made(tmp_path, source, documents_per_query=8)


def test_batches_are_the_same_for_a_seed_and_hold_nothing_twice(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"query": f"q{n}", "positive": f"shared {n % 20}", "negatives": [f"n{n}"]}
        for n in range(60)
    ]
    settings = DataSettings(sources=[write(tmp_path / "p.jsonl", rows)], documents_per_query=2)
    data = prepare(settings, tmp_path / "prepared")
    plan = BatchPlan(data, settings, 8, seed=3)
    batches = plan.epoch(0)
    again = BatchPlan(data, settings, 8, seed=3).epoch(0)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    assert not np.array_equal(np.concatenate(batches), np.concatenate(plan.epoch(1)))
    for batch in batches:
        relevant = [int(data.row(int(one)).documents[0]) for one in batch]
        assert len(batch) == 8
        assert len(set(relevant)) == 8
    assert len(set(np.concatenate(batches).tolist())) == sum(map(len, batches))


def test_a_plan_goes_on_in_the_middle(tmp_path: Path) -> None:
    settings = DataSettings(sources=[pairs(tmp_path, 40)], documents_per_query=1)
    plan = BatchPlan(prepare(settings, tmp_path / "prepared"), settings, 8, seed=0)
    whole = [batch for _, batch in zip(range(12), plan.batches(), strict=False)]
    later = [batch for _, batch in zip(range(5), plan.batches(start=7), strict=False)]
    assert [(e, at) for e, at, _ in whole[7:]] == [(e, at) for e, at, _ in later]
    assert all(np.array_equal(a[2], b[2]) for a, b in zip(whole[7:], later, strict=True))


def test_sources_come_as_often_as_their_weight_and_apart_when_asked(tmp_path: Path) -> None:
    one, two = pairs(tmp_path, 40, "one"), pairs(tmp_path, 40, "two")
    one.weight, two.weight = 2.0, 0.5
    settings = DataSettings(sources=[one, two], documents_per_query=1, batch_by="source")
    data = prepare(settings, tmp_path / "prepared")
    batches = BatchPlan(data, settings, 4, seed=0).epoch(0)
    sources = [data.source[batch] for batch in batches]
    assert all(len(set(found.tolist())) == 1 for found in sources)
    counts = np.bincount(np.concatenate(sources))
    assert 70 <= counts[0] <= 80
    assert counts[1] == 20


def test_few_examples_make_one_small_batch(tmp_path: Path) -> None:
    settings = DataSettings(sources=[pairs(tmp_path, 3)], documents_per_query=1)
    plan = BatchPlan(prepare(settings, tmp_path / "prepared"), settings, 8, seed=0)
    assert [len(batch) for batch in plan.epoch(0)] == [3]


def test_candidates_are_a_relevant_document_and_its_negatives(tmp_path: Path) -> None:
    source = write(tmp_path / "p.jsonl", [
        {"query": "a", "positives": ["x", "y"], "negatives": ["n1", "n2", "n3", "n4"]},
    ])  # fmt: skip
    data = made(tmp_path, source)
    first = set()
    for epoch in range(12):
        places = choose_candidates(data, 0, 3, seed=5, epoch=epoch)
        assert np.array_equal(places, choose_candidates(data, 0, 3, seed=5, epoch=epoch))
        first.add(int(places[0]))
        assert all(place >= 2 for place in places[1:])
        assert len(set(places.tolist())) == 3
    assert first == {0, 1}
