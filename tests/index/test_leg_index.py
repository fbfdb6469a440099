from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from leg_cases import ToyLeg, toy_legs
from toy_encoder import ToyEncoder

from lsr.errors import ConfigError, DataError
from lsr.index.index import Index
from lsr.index.legs import SPARSE
from lsr.types import LegScore

DOCUMENTS = [
    {"_id": "a", "text": "cats see bees", "year": 2020},
    {"_id": "b", "text": "dogs bark", "year": 2021},
    {"_id": "c", "text": "bees sleep, bees meet", "year": 2022},
    {"_id": "d", "text": "geese", "year": 2022},
]


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    with toy_legs():
        yield


def test_the_leg_to_search_is_named_by_mode(tmp_path: Path, encoder: ToyEncoder) -> None:
    with Index.create(tmp_path / "i", encoder=encoder, legs=("sparse", ToyLeg("e"))) as index:
        index.add(DOCUMENTS)
    assert index.legs == ("sparse", "toy")
    assert index.search("cats").ids == ["a"]
    result = index.search("cats", mode="toy", k=3)
    assert (result.ids, result.scores) == (["c", "a", "d"], [8.0, 4.0, 3.0])
    assert (
        result.hits[1].legs == {"toy": LegScore(4.0, 2)} and result.hits[1].text == "cats see bees"
    )
    assert index.search("cats").hits[0].legs == {"sparse": LegScore(1.0, 1)}
    assert [hit.rank for hit in result.page(1, 3)] == [2, 3]
    assert index.search("", mode="toy", filter="year >= 2021").ids == ["c", "d"]
    assert [one.ids for one in index.search_batch(["x", "y"], mode="toy", k=1)] == [["c"], ["c"]]
    explained = index.explain("cats", "a", mode="toy")
    assert explained is not None and explained.score == 4.0


def test_an_index_without_sparse_vectors_needs_no_encoder(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", legs=[ToyLeg("e")]) as index:
        index.add(DOCUMENTS)
    found = Index.open(tmp_path / "i")
    assert found.search("anything").ids == ["c", "a", "d"]
    with pytest.raises(ConfigError, match=r"mode is 'sparse'; this index has toy"):
        found.search("cats", mode=SPARSE)
    with pytest.raises(ConfigError, match="recall is an option of mode sparse; the mode is toy"):
        found.search("cats", recall=0.9)


def test_a_leg_is_added_and_removed_without_encoding_anything(
    tmp_path: Path, encoder: ToyEncoder
) -> None:
    with Index.create(tmp_path / "i", encoder=encoder) as index:
        index.add(DOCUMENTS)
    encoded = encoder.encoded
    index.add_leg(ToyLeg("g"))
    assert index.search("", mode="toy").ids == ["b", "d"] and encoder.encoded == encoded
    assert Index.open(tmp_path / "i").settings.legs["toy"] == {"letter": "g"}
    index.upsert([{"_id": "b", "text": "eggs, gigs"}])
    index.commit()
    assert index.search("", mode="toy").scores == [4.0, 1.0]
    index.remove_leg("toy")
    for mode, hint in (
        ("toy", "--add toy$"),
        ("nope", "search with --mode sparse"),
        ("bm25", r"--add bm25$"),
        ("dense", "--add dense --dense-model MODEL"),
    ):
        with pytest.raises(ConfigError, match="this index has sparse") as caught:
            index.search("", mode=mode)
        assert re.search(hint, caught.value.hint or "")


def test_rows_that_are_brought_for_a_leg_follow_their_documents(
    tmp_path: Path, encoder: ToyEncoder
) -> None:
    index = Index.create(tmp_path / "i", encoder=encoder, legs=("sparse", ToyLeg("e")))
    with pytest.raises(DataError, match="4 documents but 3 rows for the leg 'toy'"):
        index.add(DOCUMENTS, given={"toy": [1, 2, 3]})
    index.rollback()
    index.add(DOCUMENTS, given={"toy": np.array([1, 2, 3, 4])})
    index.upsert([{"_id": "a", "text": "x"}, {"_id": "a", "text": "y"}], given={"toy": [6, 7]})
    index.commit()
    assert index.search("", mode="toy").ids == ["a", "d", "c", "b"]
    assert index.search("", mode="toy").scores == [7.0, 4.0, 3.0, 2.0]
