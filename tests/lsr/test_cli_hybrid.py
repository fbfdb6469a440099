from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from dense_models import write_dense

from lsr.cli_blend import to_feedback, to_fusion
from lsr.dense_encoder import DenseModelEncoder, load_dense_encoder
from lsr.errors import ConfigError
from lsr.weights import WeightFiles

Cli = Any


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dense(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def shop(model: Path, animals_jsonl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the three animals with all legs, only to be read."""
    from typer.testing import CliRunner

    from lsr.cli import app

    out = tmp_path_factory.mktemp("hybrid") / "i"
    arguments = ["index", str(animals_jsonl), "--out", str(out), "--legs", "sparse,bm25,dense"]
    made = CliRunner().invoke(app, [*arguments, "--dense-model", str(model)])
    assert made.exit_code == 0, made.output
    return out


def test_hybrid_search_shows_what_each_leg_said(cli: Cli, shop: Path) -> None:
    found = cli("search", shop, "cats", "--mode", "hybrid")
    assert found.code == 0, found.err
    assert "bm25" in found.out and "(rank 1)" in found.out and "dense" in found.out
    told = cli("search", shop, "why do cats purr", "--mode", "hybrid", "--json").json()
    assert told["hits"][0]["id"] == "a" and told["path"] == "hybrid"
    assert set(told["hits"][0]["legs"]) == {"sparse", "bm25", "dense"}
    assert {"sparse", "bm25", "dense", "fuse"} == set(told["timings"])


def test_fusion_weights_and_pages(cli: Cli, shop: Path) -> None:
    options = ("--mode", "hybrid", "--fusion", "minmax,missing=rescore", "--weights", "dense=0")
    whole = cli("search", shop, "cats purr", *options, "--json").json()["hits"]
    assert [hit["rank"] for hit in whole] == [1, 2, 3][: len(whole)]
    assert set(whole[0]["legs"]) == {"sparse", "bm25"}
    second = cli("search", shop, "cats purr", *options, "-k", "1", "--offset", "1", "--json")
    assert second.json()["hits"] == whole[1:2]


def test_feedback_names_the_terms_it_added(cli: Cli, shop: Path) -> None:
    found = cli("search", shop, "purr", "--mode", "bm25", "--feedback", "both,docs=1,terms=3")
    assert "feedback added to bm25: " in found.out, found.err
    why = cli("explain", shop, "purr", "a", "--mode", "hybrid", "--feedback", "post,legs=bm25")
    assert why.code == 0, why.err
    assert "feedback added: " in why.out and "adds 0.0" in why.out and "dense: score" in why.out


def test_many_queries_make_a_hybrid_run(cli: Cli, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"_id": "1", "text": "cats"}\n{"_id": "2", "text": "cows"}')
    run = cli("search", shop, "--queries", "q.jsonl", "--run", "-", "--mode", "hybrid")
    assert run.code == 0, run.err
    assert run.out.splitlines()[0].startswith("1 Q0 a 1 0.04")


def test_a_dense_leg_is_added_and_removed(
    cli: Cli, model: Path, animals_jsonl: Path, tmp_path: Path
) -> None:
    assert cli("index", animals_jsonl, "--out", "i").code == 0
    refused = cli("search", "i", "cats", "--mode", "hybrid")
    assert refused.code == 2 and "needs two legs" in refused.err
    assert cli("legs", "i", "--add", "dense").code == 2
    added = cli("legs", "i", "--add", "dense", "--dense-model", model)
    assert added.code == 0 and "dense" in added.out, added.err
    assert cli("search", "i", "cats", "--mode", "dense", "--json").json()["hits"]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    assert cli("check", "i").code == 0
    assert cli("legs", "i", "--remove", "dense").code == 0
    refused = cli("search", "i", "cats", "--dense-model", model)
    assert refused.code == 2 and "no dense leg" in refused.err


def test_options_are_read_or_refused() -> None:
    fusion = to_fusion("rrf,k=10,missing=min", "sparse=0.5,dense=2")
    assert fusion is not None and (fusion.method, fusion.k, fusion.missing) == ("rrf", 10, "min")
    assert fusion.weights == {"sparse": 0.5, "dense": 2.0}
    assert to_fusion(None, None) is None and to_feedback(None) is False
    feedback = to_feedback("pre,docs=2,legs=sparse+dense,dense=average,alpha=0.25")
    assert not isinstance(feedback, bool)
    assert (feedback.when, feedback.docs, feedback.legs) == ("pre", 2, ("sparse", "dense"))
    for bad in ("both,docs=many", "both,size=3", "sometimes", "both,docs"):
        with pytest.raises(ConfigError):
            to_feedback(bad)
    for options in (("best", None), ("rrf,q=1", None), (None, "dense"), (None, "dense=x")):
        with pytest.raises(ConfigError):
            to_fusion(*options)


def test_tuning_reports_the_grid_and_a_verdict(cli: Cli, shop: Path, tmp_path: Path) -> None:
    asked = {"1": "cats", "2": "dogs", "3": "cows", "4": "purr"}
    lines = [json.dumps({"_id": key, "text": text}) + "\n" for key, text in asked.items()]
    (tmp_path / "q.jsonl").write_text("".join(lines))
    (tmp_path / "qrels.txt").write_text("1 0 a 1\n2 0 b 1\n3 0 c 1\n4 0 a 1\n")
    given = ("--queries", "q.jsonl", "--qrels", "qrels.txt", "--folds", "2", "--step", "0.5")
    told = cli("tune", shop, *given, "--grid", "grid.csv")
    assert told.code == 0, told.err
    assert "keep the default" in told.out and "sparse alone" in told.out
    rows = (tmp_path / "grid.csv").read_text().splitlines()
    assert rows[0] == "nDCG@10,fusion,sparse,bm25,dense" and len(rows) == 1 + 4 * 7
    found = cli("tune", shop, *given, "--json").json()
    assert found["pays"] is False and len(found["grid"]) == 28
    assert cli("tune", shop).code == 2


def test_hybrid_hits_tell_their_passage(cli: Cli, tmp_path: Path) -> None:
    text = "Cats purr when they are happy. Dogs bark at strangers in the night."
    (tmp_path / "long.jsonl").write_text(json.dumps({"_id": "a", "text": text}))
    options = ("--legs", "sparse,bm25", "--passages", "--passage-tokens", "12")
    made = cli("index", "long.jsonl", "--out", "i", *options, "--passage-overlap", "0")
    assert made.code == 0, made.err
    for mode in ("sparse", "bm25", "hybrid"):
        [hit] = cli("search", "i", "barking dogs", "--mode", mode, "--json").json()["hits"]
        assert hit["passage"]["number"] == 1
        assert hit["passage"]["text"] == text[31:] == text[hit["passage"]["start"] :]
        why = cli("explain", "i", "barking dogs", "a", "--mode", mode)
        assert "best passage 1: Dogs bark at strangers in the night." in why.out.splitlines()


def test_an_encoding_that_was_stopped_goes_on(
    cli: Cli, model: Path, animals_jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("index", animals_jsonl, "--out", "i").code == 0
    monkeypatch.setattr("lsr.index.open_segment._BATCH", 2)
    encode, asked = DenseModelEncoder.encode_documents, list[int]()

    def encode_once(self: DenseModelEncoder, texts: Sequence[str], **how: Any) -> Any:
        asked.append(len(texts))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return encode(self, texts, **how)

    monkeypatch.setattr(DenseModelEncoder, "encode_documents", encode_once)
    options = ("legs", "i", "--add", "dense", "--dense-model", model)
    stopped = cli(*options)
    assert stopped.code == 130 and stopped.err.startswith("error: stopped; i is as it was; ")
    assert "the same command goes on" in stopped.err
    assert cli("check", "i").code == 0
    done = cli(*options)
    assert done.code == 0 and "2 vectors were there from an encoding that was stopped" in done.err
    assert asked == [2, 1, 1]  # two, then one that was stopped, and that one again
    assert cli("search", "i", "cats", "--mode", "dense", "--json").json()["hits"]


def test_a_budget_without_room_for_the_dense_model_is_told(
    cli: Cli, model: Path, animals_jsonl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--legs", "sparse,dense", "--dense-model", model, "--threads", "1")
    made = cli("index", animals_jsonl, "--out", "i", *options)
    assert made.code == 0 and "--memory" not in made.err, made.err
    weights = 4 * WeightFiles(model).n_numbers
    assert 0 <= (model / "model.safetensors").stat().st_size - weights < 20_000
    encoder = load_dense_encoder(model, threads=1)
    assert isinstance(encoder, DenseModelEncoder)
    assert weights < encoder.memory(1) < encoder.memory(2) < weights + 50_000_000
    monkeypatch.setattr("lsr.dense_encoder._BATCH_MEMORY", 40_000_000)
    told = cli("index", animals_jsonl, "--out", "j", *options)
    assert told.code == 0 and "more than its budget (--memory) of 1.0 GB" in told.err
