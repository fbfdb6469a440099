"""Passages of hits in every mode: which part of a long document each leg, and a fusion, means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dense_cases import ToyDense
from toy_encoder import ToyEncoder

from lsr.index.bm25 import Bm25Leg
from lsr.index.dense import DenseLeg
from lsr.index.feedback import Feedback
from lsr.index.fusion import Fusion
from lsr.index.index import Index
from lsr.passages import PassageSettings
from lsr.types import Hit

MODES = ["sparse", "bm25", "dense", "hybrid"]
SENTENCES = ["Cats purr today.", "Dogs bark loud.", "Cows moo far.", "Birds sing well."]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Documents of four sentences in different orders, each a passage, in two segments."""
    made = Index.create(
        tmp_path_factory.mktemp("passages") / "i",
        encoder=ToyEncoder(),
        passages=PassageSettings(max_tokens=3, overlap=0),
        legs=["sparse", Bm25Leg(analyzer="standard"), DenseLeg(ToyDense(dim=32))],
    )
    for part in range(2):
        made.add(
            {"_id": f"d{part}{at}", "text": " ".join(np.roll(SENTENCES, at + part).tolist())}
            for at in range(4)
        )
        made.commit()
    made.delete(["d01"])
    made.commit()
    return made


def check(hit: Hit, sentence: str) -> None:
    assert hit.passage is not None
    assert hit.passage.text == sentence == hit.text[hit.passage.start : hit.passage.end]
    assert hit.passage.number == [s.strip() + "." for s in hit.text.split(".")].index(sentence)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_hit_tells_the_passage_that_the_query_is_about(
    index: Index, mode: str, sentence: str
) -> None:
    result = index.search(sentence, k=7, mode=mode)
    assert len(result) == 7
    for hit in result:
        check(hit, sentence)
    [batched] = index.search_batch([sentence], k=7, mode=mode)
    assert [hit.passage for hit in batched] == [hit.passage for hit in result]
    assert [hit.passage for hit in result.page(2, 4)] == [hit.passage for hit in result[2:4]]


@pytest.mark.parametrize("mode", MODES)
def test_explain_tells_the_same_passage(index: Index, mode: str) -> None:
    for hit in index.search("dogs bark", k=3, mode=mode):
        found = index.explain("dogs bark", hit.id, mode=mode)
        assert found is not None and found.passage == hit.passage
    fed = index.explain("dogs bark", "d02", mode=mode, feedback=True)
    assert fed is not None and fed.passage is not None and fed.passage.text == SENTENCES[1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("when", ["pre", "post", "both"])
def test_feedback_keeps_passages(index: Index, mode: str, when: str) -> None:
    feedback = Feedback(docs=2, terms=2, alpha=0.9, when=when)  # type: ignore[arg-type]
    for hit in index.search("cows moo", k=3, mode=mode, feedback=feedback):
        check(hit, SENTENCES[2])


def test_of_legs_that_disagree_the_one_that_adds_most_tells_the_passage(index: Index) -> None:
    given = {"sparse": "cats purr", "dense": SENTENCES[3], "bm25": "cows moo"}
    for leg, sentence in (("sparse", SENTENCES[0]), ("dense", SENTENCES[3])):
        fusion = Fusion("minmax", weights={"sparse": 0.2, "dense": 0.2, "bm25": 0.3, leg: 0.5})
        found = index.search("", k=7, mode="hybrid", fusion=fusion, given=given)
        check(found[0], sentence)
    # BM25, which scores whole documents, is asked only where no other leg tells.
    fusion = Fusion("minmax", weights={"sparse": 0.0, "dense": 0.0, "bm25": 1.0})
    for hit in index.search("", k=7, mode="hybrid", fusion=fusion, given=given):
        check(hit, SENTENCES[2])


def test_a_function_that_fuses_has_no_shares_and_still_a_passage(index: Index) -> None:
    fusion = Fusion(lambda legs, weights: np.nan_to_num(legs["dense"].scores))
    for hit in index.search(SENTENCES[3], k=3, mode="hybrid", fusion=fusion):
        check(hit, SENTENCES[3])


def test_rescored_documents_have_the_passage_of_the_leg_that_found_them(index: Index) -> None:
    fusion = Fusion("minmax", missing="rescore")
    found = index.search("birds sing", k=2, mode="hybrid", fusion=fusion, depth=2)
    for hit in found:
        check(hit, SENTENCES[3])


def test_without_passages_there_are_none(tmp_path: Path) -> None:
    with Index.create(
        tmp_path / "i",
        encoder=ToyEncoder(),
        legs=["sparse", Bm25Leg(analyzer="standard"), DenseLeg(ToyDense())],
    ) as index:
        index.add([{"_id": "a", "text": " ".join(SENTENCES)}])
    for mode in MODES:
        assert index.search("cats", mode=mode)[0].passage is None
        found = index.explain("cats", "a", mode=mode)
        assert found is not None and found.passage is None


def test_bm25_weighs_words_and_not_their_number(tmp_path: Path) -> None:
    """A rare word tells more than a frequent one twice; a title alone means the first passage."""
    with Index.create(
        tmp_path / "i",
        encoder=ToyEncoder(),
        passages=PassageSettings(max_tokens=4, overlap=0),
        legs=["sparse", Bm25Leg(analyzer="standard")],
    ) as index:
        index.add([{"_id": "a", "title": "Farm", "text": "Cats cats cats here. Zebra cats run."}])
        index.add([{"_id": f"b{at}", "text": "Cats purr."} for at in range(5)])
    [hit] = [hit for hit in index.search("cats zebra", mode="bm25") if hit.id == "a"]
    assert hit.passage is not None and hit.passage.text == "Zebra cats run."
    [hit] = index.search("farm", mode="bm25")
    assert hit.passage is not None and hit.passage.number == 0
