from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense_cases import ToyDense
from toy_encoder import ToyEncoder

from lsr.errors import ConfigError, DataError, IndexFormatError, ModelError
from lsr.index import dense, dense_search
from lsr.index.dense import DenseLeg
from lsr.index.index import Index
from lsr.passages import PassageSettings

RANDOM = np.random.default_rng(4)
DIM = 8


def vectors(n: int, seed: int = 4) -> Any:
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


def texts(start: int, stop: int) -> list[dict[str, object]]:
    return [{"_id": f"d{at:04d}", "text": f"number {at}", "even": at % 2 == 0} for at in
            range(start, stop)]  # fmt: skip


def brute_force(rows: Any, query: Any, ids: list[str], k: int, cosine: bool = True) -> list[str]:
    if cosine:
        rows = rows / np.linalg.norm(rows, axis=1)[:, None]
    scores = rows @ query
    return sorted(ids, key=lambda name: (-scores[ids.index(name)], name))[:k]


def filled(path: Path, rows: Any, *, parts: int = 1, similarity: Any = "cosine") -> Index:
    index = Index.create(path, legs=[DenseLeg(dim=DIM, similarity=similarity)])
    step = -(-len(rows) // parts)
    for start in range(0, len(rows), step):
        stop = min(start + step, len(rows))
        index.add(texts(start, stop), given={"dense": rows[start:stop]})
        index.commit()
    return index


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_search_equals_brute_force_and_faiss(tmp_path: Path, similarity: Any) -> None:
    import faiss

    rows, queries = vectors(300), vectors(20, 9)
    index = filled(tmp_path / "i", rows, parts=3, similarity=similarity)
    ids = [f"d{at:04d}" for at in range(300)]
    kept = rows / np.linalg.norm(rows, axis=1)[:, None] if similarity == "cosine" else rows
    flat: Any = faiss.IndexFlatIP(DIM)
    flat.add(np.ascontiguousarray(kept))
    for query in queries:
        found = index.search(query, k=10, mode="dense")
        assert found.ids == brute_force(rows, query, ids, 10, similarity == "cosine")
        scaled = query / np.linalg.norm(query) if similarity == "cosine" else query
        theirs = flat.search(scaled[None], 10)
        assert found.ids == [ids[at] for at in theirs[1][0]]
        np.testing.assert_allclose(found.scores, theirs[0][0], rtol=1e-5)
        assert found.path == "flat" and found[0].legs["dense"] == (found.scores[0], 1)
    many = index.search_batch(list(queries), k=10, mode="dense", threads=2)
    assert [one.ids for one in many] == [index.search(q, k=10, mode="dense").ids for q in queries]


def test_equal_scores_are_ordered_by_id_across_segments(tmp_path: Path) -> None:
    rows = np.repeat(vectors(1), 30, axis=0)
    index = filled(tmp_path / "i", rows, parts=3)
    found = index.search(rows[0], k=12, mode="dense")
    assert found.ids == [f"d{at:04d}" for at in range(12)] and len(set(found.scores)) == 1


def test_deletes_updates_filters_and_merges(tmp_path: Path) -> None:
    rows = vectors(60)
    index = filled(tmp_path / "i", rows, parts=2)
    query = rows[7]
    index.delete(["d0007", "d0050"])
    index.upsert(texts(8, 9), given={"dense": rows[7:8]})
    index.commit()
    ids = [f"d{at:04d}" for at in range(60) if at not in (7, 50)]
    now = np.delete(rows, [7, 50], axis=0)
    now[ids.index("d0008")] = rows[7]
    expected = brute_force(now, query, ids, 58)
    before = index.search(query, k=100, mode="dense")
    assert before.ids == expected and before.ids[0] == "d0008"
    even = index.search(query, k=100, mode="dense", filter="even = true")
    assert even.ids == [name for name in expected if int(name[1:]) % 2 == 0]
    index.merge()
    after = index.search(query, k=100, mode="dense")
    assert after.ids == expected and after.scores == before.scores
    assert Index.open(tmp_path / "i").search(query, k=100, mode="dense").scores == before.scores


def test_ten_adds_merged_are_byte_for_byte_one_add(tmp_path: Path) -> None:
    rows = vectors(40)
    filled(tmp_path / "ten", rows, parts=10).merge()
    filled(tmp_path / "one", rows)

    def stored(path: Path) -> list[bytes]:
        [part] = (path / "legs").iterdir()
        return [file.read_bytes() for file in sorted(part.iterdir())]

    assert stored(tmp_path / "ten") == stored(tmp_path / "one")


def test_scores_do_not_depend_on_how_a_document_was_found(tmp_path: Path) -> None:
    rows = vectors(80)
    index = filled(tmp_path / "i", rows, parts=2)
    searcher: Any = index.searcher("dense")
    found = searcher.search(vectors(1, 3)[0], 80)
    again = searcher.score(vectors(1, 3)[0], found.segments, found.documents)
    assert again.tolist() == found.scores.tolist()


@pytest.fixture
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lists be made of few vectors."""
    monkeypatch.setattr(dense, "FLAT_ROWS", 1000)
    monkeypatch.setattr(dense_search, "FLAT_ROWS", 1000)


@pytest.mark.usefixtures("small_lists")
@pytest.mark.filterwarnings("ignore")
def test_lists_find_nearly_all_with_true_scores_and_keep_to_filters(tmp_path: Path) -> None:
    centres = vectors(40, 1)
    rows = centres[np.arange(4000) % 40] + 0.3 * vectors(4000, 2)
    index = filled(tmp_path / "i", rows)
    index.delete([f"d{at:04d}" for at in range(0, 4000, 7)])
    index.commit()
    ids = [f"d{at:04d}" for at in range(4000) if at % 7]
    live = rows[[int(name[1:]) for name in ids]]
    unit = live / np.linalg.norm(live, axis=1)[:, None]
    shared = 0
    for query in centres[:20] + 0.2 * vectors(20, 3):
        found = index.search(query, k=10, mode="dense", filter="even = true")
        assert found.path == "lists" and len(found) == 10
        query = query / np.linalg.norm(query)
        for hit in found:
            assert hit.score == pytest.approx(float(unit[ids.index(hit.id)] @ query), abs=1e-5)
            assert int(hit.id[1:]) % 2 == 0 and int(hit.id[1:]) % 7
        kept = [at for at, name in enumerate(ids) if int(name[1:]) % 2 == 0]
        best = {ids[kept[at]] for at in np.argsort(-(unit[kept] @ query))[:10]}
        shared += len(best & set(found.ids))
    assert shared >= 0.9 * 200
    few = index.search(rows[1], k=10, mode="dense", filter='_id in ["d0001", "d0002"]')
    assert few.path == "flat" and set(few.ids) == {"d0001", "d0002"}
    assert index.search(rows[1], k=4000, mode="dense").ids[0] == "d0001"
    assert len(index.search(rows[1], k=4000, mode="dense")) == len(ids)
    assert index._store.check() == []


def test_texts_are_encoded_and_passages_count_by_the_best(tmp_path: Path) -> None:
    encoder = ToyDense()
    with Index.create(
        tmp_path / "i",
        encoder=ToyEncoder(),
        passages=PassageSettings(max_tokens=8, overlap=0),
        legs=["sparse", DenseLeg(encoder)],
    ) as index:
        long = "Cats purr all day long now. Birds sing in the morning sun."
        index.add([{"_id": "a", "text": long}, {"_id": "b", "text": "Dogs bark."}])
    assert encoder.encoded == 3
    found = index.search("birds sing in the morning sun", mode="dense")
    assert found.ids[0] == "a" and found.scores[0] == pytest.approx(1.0, abs=1e-5)
    index.merge()
    assert index.search("birds sing in the morning sun", mode="dense").scores == found.scores
    assert len(index.search("  ", mode="dense")) == 0
    opened = Index.open(tmp_path / "i", dense=ToyDense())
    assert opened.search("dogs bark", mode="dense").ids[0] == "b"


def test_a_dense_leg_is_added_without_encoding_sparse_vectors_again(tmp_path: Path) -> None:
    sparse, encoder = ToyEncoder(), ToyDense(similarity="dot")
    with Index.create(tmp_path / "i", encoder=sparse) as index:
        index.add([{"_id": "a", "text": "cats purr"}, {"_id": "b", "text": "dogs bark"}])
    encoded = sparse.encoded
    index.add_leg(DenseLeg(encoder))
    assert index.search("dogs", mode="dense").ids[0] == "b" and sparse.encoded == encoded
    kept = index.settings.legs["dense"]
    assert kept == {
        "model": {"name": "toy-dense", "fingerprint": "toy-dense-1", "licence": "MIT"},
        "dim": 8,
        "similarity": "dot",
    }


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs an encoder, or dim"):
        DenseLeg()
    with pytest.raises(ConfigError, match="the encoder's vectors have 8"):
        DenseLeg(ToyDense(), dim=9)
    with pytest.raises(IndexFormatError, match="not those of a dense leg"):
        DenseLeg.from_json({"dim": 3})
    index = Index.create(tmp_path / "i", legs=[DenseLeg(dim=DIM)])
    rows = vectors(2)
    rows[1, 3] = np.nan
    for given, said in ((rows, "row 1 of the dense"), (vectors(2)[:, :5], r"\(2, 5\)")):
        with pytest.raises(DataError, match=said):
            index.add(texts(0, 2), given={"dense": given})
        index.rollback()
    with pytest.raises(ConfigError, match="none came for document 'd0000'"):
        index.add(texts(0, 2))
    index.rollback()
    index.add(texts(0, 2), given={"dense": vectors(2)})
    index.commit()
    with pytest.raises(ConfigError, match="cannot read text"):
        index.search("text", mode="dense")
    with pytest.raises(DataError, match=r"shape \(1, 3\)"):
        index.search(np.float32([1, 2, 3]), mode="dense")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="text or a vector"):
        index.search({"cat": 1.0}, mode="dense")
    other = ToyDense()
    other.fingerprint = "another"
    with pytest.raises(ModelError, match="has no model"):
        Index.open(tmp_path / "i", dense=other)
