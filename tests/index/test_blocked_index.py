"""Blocks in an index: made, kept through changes, damaged, chosen by the planner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from block_cases import KNOBS, PRUNED, VOCAB, query_of, recall, topical

from lsr import Document, Index
from lsr.errors import ConfigError, IndexFormatError
from lsr.index import calibration
from lsr.index.blocks import BLOCK_ARRAYS, BlockSettings
from lsr.index.build import BuildProgress, BuildSettings, build
from lsr.index.calibration import SETTING, TARGETS, BlockChoice, Calibration, calibrate
from lsr.index.knobs import BlockKnobs, SearchKnobs
from lsr.index.planner import choose
from lsr.index.search import load_kernels
from lsr.index.source import VectorSource
from lsr.index.store import Store
from lsr.index.warmup import MemoryLive, MemorySegment
from lsr.rejects import Rejects
from lsr.vector_files import write_vectors


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    load_kernels()


# --- in an index -------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    monkeypatch.setattr(calibration, "SMALL", 100)
    how = replace(PRUNED, postings=100, small=100)
    with Index.create(tmp_path / "i", encoder=None, vocab_size=VOCAB, blocks=how) as index:
        put(index, 0, 1500)
        yield index


def put(index: Index, start: int, stop: int, seed: int = 11) -> None:
    documents = [Document(str(row)) for row in range(start, stop)]
    index.upsert(documents, vectors=topical(2000, seed).slice(start, stop))
    index.commit()


def block_files(index: Index) -> list[list[str]]:
    return [
        sorted(file.name for file in folder.iterdir() if file.name in BLOCK_ARRAYS)
        for folder in sorted((index.path / "segments").iterdir())
    ]


def test_large_segments_have_blocks_and_small_ones_do_not(shelf: Index) -> None:
    put(shelf, 1500, 1550)
    assert block_files(shelf) == [sorted(BLOCK_ARRAYS), []]
    query = query_of(topical(2000, 11), 1520)
    assert shelf.search(query, path="blocks").path == "exact"  # none has 20,000 rows
    found = shelf.search(query, knobs=replace(KNOBS, small=100))
    assert found.path == "blocks" and found.stats.blocks > 0
    assert found.ids[0] == "1520"  # in the small segment, which is searched whole
    shelf.merge()
    assert block_files(shelf) == [sorted(BLOCK_ARRAYS)]
    assert Index.open(shelf.path).settings.blocks is not None


def test_updates_deletes_and_merges_keep_the_answers(shelf: Index) -> None:
    vectors = topical(2000, 11)
    queries = [query_of(vectors, row) for row in range(0, 1500, 50)]

    def missed() -> float:
        exact = shelf.search_batch(queries, exact=True)
        found = shelf.search_batch(queries, knobs=KNOBS)
        assert {one.path for one in found} == {"blocks"}
        pairs = zip(found, exact, strict=True)
        return 1 - float(np.mean([len(set(a.ids) & set(b.ids)) / 10 for a, b in pairs]))

    assert missed() < 0.1
    put(shelf, 300, 500, seed=12)
    shelf.delete([str(row) for row in range(0, 1500, 3)])
    shelf.commit()
    gone = {str(row) for row in range(0, 1500, 3)}
    for found in shelf.search_batch(queries, knobs=KNOBS):
        assert not gone & set(found.ids)
    assert missed() < 0.1
    shelf.merge()
    assert missed() < 0.1


def test_blocks_come_and_go_with_a_merge(shelf: Index) -> None:
    shelf.merge(blocks=False)
    assert block_files(shelf) == [[]] and shelf.settings.blocks is None
    with pytest.raises(ConfigError, match="no blocks") as error:
        shelf.search({1: 1.0}, path="blocks")
    assert error.value.hint is not None and "lsr merge DIR --blocks" in error.value.hint
    with pytest.raises(ConfigError, match="no blocks"):
        shelf.search({1: 1.0}, knobs=KNOBS)
    told: list[tuple[str, float]] = []
    generation = shelf.merge(blocks=PRUNED, progress=lambda *step: told.append(step))
    shares = [share for step, share in told if step == "blocks"]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert block_files(shelf) == [sorted(BLOCK_ARRAYS)]
    assert shelf.merge() == generation  # nothing is left to do
    assert shelf.search({1: 1.0}, knobs=KNOBS).path == "blocks"
    assert Index.open(shelf.path).settings.blocks == PRUNED


def test_the_same_index_has_the_same_bytes(shelf: Index, tmp_path: Path) -> None:
    other = Index.create(
        tmp_path / "j", encoder=None, vocab_size=VOCAB, blocks=shelf.settings.blocks or False
    )
    put(other, 0, 1500)
    for file in sorted(path for path in shelf.path.rglob("*") if path.name in BLOCK_ARRAYS):
        assert file.read_bytes() == (other.path / file.relative_to(shelf.path)).read_bytes()
    other.close()


@pytest.mark.parametrize("name", sorted(BLOCK_ARRAYS))
def test_a_damaged_file_of_blocks_is_named_and_never_answers(shelf: Index, name: str) -> None:
    [file] = shelf.path.rglob(name)
    good = file.read_bytes()
    for bad in (good[:-1], good[:40] + bytes([good[40] ^ 1]) + good[41:], b""):
        file.write_bytes(bad)
        assert any(name in problem for problem in Store(shelf.path, verify=False).check())
        with pytest.raises(IndexFormatError, match=name):
            Index.open(shelf.path)
    file.unlink()
    with pytest.raises(IndexFormatError, match=f"{name} is missing"):
        Index.open(shelf.path)


def test_settings_that_cannot_be_followed_are_refused() -> None:
    for wrong in (
        {"postings": 0},
        {"share": -0.1},
        {"rows": 0},
        {"energy": 0.0},
        {"energy": float("nan")},
        {"seed": -1},
        {"small": 0},
    ):
        with pytest.raises(ConfigError, match="cannot be followed"):
            BlockSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(IndexFormatError, match="settings of blocks"):
        BlockSettings.from_json({"colour": 3})
    for knobs in ({"lists": 0}, {"skip_ratio": -1.0}, {"skip_ratio": float("inf")}):
        with pytest.raises(ConfigError):
            BlockKnobs(**knobs)  # type: ignore[arg-type]


# --- the planner -------------------------------------------------------------------------------


def test_calibration_finds_knobs_that_reach_each_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"_QUERIES": 20, "_LISTS": (6, 16), "SIZES": (10,)}
    for name, value in small.items():
        monkeypatch.setattr(calibration, name, value)
    vectors = topical(20_000, 13)
    live = MemoryLive(MemorySegment.build(vectors, blocks=replace(PRUNED, postings=700)))
    table = calibrate([live])
    assert table is not None and table.blocks is not None
    assert table.blocks[10].keys() == set(TARGETS)
    queries = [query_of(vectors, row, 24) for row in range(0, 20_000, 500)]
    for target in TARGETS:
        assert recall(live, queries, table.blocks[10][target].knobs) > target - 0.02
    assert Calibration.from_json(table.to_json()) == table


def test_the_planner_takes_the_cheaper_way_and_the_one_that_is_asked_for() -> None:
    adding, opening = SearchKnobs(0.2, 4), BlockKnobs(7, 0.5)
    for cheaper in (True, False):
        row = dict.fromkeys(TARGETS, adding)
        blocks = {10: dict.fromkeys(TARGETS, BlockChoice(opening, cheaper))}
        table = Calibration({10: row}, "documents", 9, 100, blocks)
        assert choose(table, 10, blocks=True) == (opening if cheaper else adding)
        assert choose(table, 10, blocks=True, path="blocks") == opening
        assert choose(table, 10, blocks=True, path="accumulate") == adding
        assert choose(table, 10, blocks=True, filtered=True) is None
        assert choose(table, 10, blocks=True, filtered=True, path="blocks") == opening
        assert isinstance(choose(table, 10), SearchKnobs)  # a table older than the index
        assert isinstance(choose(table, 11, blocks=True, path="blocks"), BlockKnobs)
        assert table.holds(120, blocks=True) and not table.holds(120, blocks=False)
    for bad in (
        {"path": "accumulate", "knobs": opening},
        {"path": "blocks", "knobs": adding},
        {"path": "blocks", "exact": True},
        {"path": "blocks", "recall": 1.0},
    ):
        with pytest.raises(ConfigError):
            choose(None, 10, blocks=True, **bad)  # type: ignore[arg-type]
    assert choose(None, 10, blocks=True) is None
    assert isinstance(choose(None, 10, blocks=True, path="blocks"), BlockKnobs)


def test_an_index_is_calibrated_anew_when_it_gets_blocks(shelf: Index) -> None:
    def stored() -> Calibration:
        return Calibration.from_json(Store.open(shelf.path).snapshot().manifest.settings[SETTING])

    shelf.merge(blocks=False)
    shelf.calibrate()
    assert stored().blocks is None
    shelf.merge(blocks=PRUNED)
    assert stored().blocks is not None
    assert shelf.search({1: 1.0}, recall=0.9).path in ("exact", "accumulate", "blocks")


def test_a_build_makes_blocks_within_its_memory_and_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "SMALL", 100)
    path = tmp_path / "v.parquet"
    ids = [str(row) for row in range(1500)]
    write_vectors(path, "parquet", [(ids, topical(1500, 14))])
    index = Index.create(tmp_path / "i", encoder=None, vocab_size=VOCAB, blocks=PRUNED)
    seen: list[BuildProgress] = []
    build(
        index,
        [VectorSource(str(path), VOCAB)],
        BuildSettings(memory=700_000_000, threads=2),
        rejects=Rejects("stop"),
        progress=seen.append,
    )
    assert seen[0].blocked is None and seen[-1].calibrated == 1
    for shares in ([now.blocked for now in seen], [now.calibrated for now in seen]):
        told = [share for share in shares if share is not None]
        assert told == sorted(told) and told[-1] == 1
    assert block_files(index) == [sorted(BLOCK_ARRAYS)]
