"""Runs: what a recipe gives, going on exactly, and everything that can go wrong on the way."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train_cases import NEGATIVES, POSITIVES, QUERIES, shifted

import lsr.train.trainer as trainer_module
from lsr.encoder import load_encoder
from lsr.errors import ConfigError, DataError, LsrError, ModelError, StorageError
from lsr.index.index import Index
from lsr.train.checkpoints import checkpoints, keep_newest, step_of, write_folder
from lsr.train.objective import Loss, Objective
from lsr.train.recipe import Recipe
from lsr.train.run import explain, prepare_trainer, train

STEPS = 8


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the events of a run, in order."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="session")
def masked(start: Path) -> Path:
    """The tiny model as a run can begin with it."""
    return start


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"query": f"{query} {word}".strip(), "positive": f"{positive} {word}".strip(),
         "negatives": [f"{negative} {word}".strip()]}
        for word in ("", "cats", "bread", "sunday")
        for query, positive, negative in zip(QUERIES, POSITIVES, NEGATIVES, strict=True)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    folder = tmp_path / "dev-set"
    (folder / "qrels").mkdir(parents=True)
    texts = [*POSITIVES, *NEGATIVES]
    for name, rows in (("corpus", texts), ("queries", QUERIES)):
        lines = [json.dumps({"_id": str(at), "text": text}) for at, text in enumerate(rows)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), "utf-8")
    judged = "".join(f"{at}\t{at}\t1\n" for at in range(len(QUERIES)))
    (folder / "qrels" / "dev.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", "utf-8")
    return folder


def recipe_of(masked: Path, pairs: Path, **sections: dict[str, Any]) -> Recipe:
    base: dict[str, Any] = {
        "model": {"init": str(masked), "document_length": 16, "query_length": 16,
                  "query": {"kind": "table", "table": "learned"}},
        "rank": {"infonce": {"weight": 1.0}, "kl": {"weight": 0.5}},
        "regularise": {"document": {"kind": "flops", "weight": 0.1, "ramp_steps": 6}},
        "data": {"sources": [{"path": str(pairs), "name": "pairs"}]},
        "teachers": {"models": [{"kind": "sparse", "model": str(masked)}]},
        "train": {"steps": STEPS, "batch_size": 4, "lr": 1e-3, "threads": 1, "log_steps": 2,
                  "warmup": 2, "keep_checkpoints": 10},
    }  # fmt: skip
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return Recipe.model_validate(base)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(str(folder / "weights.safetensors"))
    return found


def with_dropout(folder: Path, masked: Path) -> Path:
    """The tiny model with dropout, so that random numbers matter."""
    shutil.copytree(masked, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config.update(hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def test_a_run_gives_a_model_that_finds(
    masked: Path, pairs: Path, dev: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    recipe = recipe_of(
        masked, pairs, train={"steps": 30, "batch_size": 4, "lr": 3e-3, "threads": 1},
        dev={"sets": [str(dev)], "every_steps": 10},
    )  # fmt: skip
    outcome = train(recipe, tmp_path / "run", say=said.append)
    assert outcome.finished and outcome.step == 30
    assert outcome.best is not None and outcome.best > 0.8
    encoder = load_encoder(outcome.model, threads=1)
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add({"_id": str(at), "text": text} for at, text in enumerate(POSITIVES))
    first = [index.search(query, k=1).ids[:1] for query in QUERIES]
    assert sum(found == [str(at)] for at, found in enumerate(first)) >= 5
    events = read_log(tmp_path / "run")
    assert [one["event"] for one in events][:: len(events) - 1] == ["start", "end"]
    step = next(one for one in events if one["event"] == "step")
    assert {"loss", "infonce", "kl", "document_flops", "document_terms", "lr"} <= step.keys()
    assert sum(one["event"] == "dev" for one in events) == 4
    assert any("nDCG@10" in line for line in said)
    card = (outcome.model / "README.md").read_text("utf-8")
    assert "| pairs | 24 | 1 |" in card and "## Scores" in card and str(tmp_path) not in card


def test_a_resumed_run_has_the_same_weights_bit_for_bit(
    masked: Path, pairs: Path, dev: Path, tmp_path: Path
) -> None:
    model = with_dropout(tmp_path / "model", masked)
    settings = {"steps": STEPS, "batch_size": 4, "accumulate": 2, "lr": 1e-3, "threads": 1,
                "checkpoint_steps": 3, "keep_checkpoints": 9}  # fmt: skip
    recipe = recipe_of(
        model, pairs, train=settings, dev={"sets": [str(dev)], "every_steps": 4},
        regularise={"document": {"kind": "flops", "weight": 0.1, "ramp_steps": 6,
                                 "target_terms": 5}},
    )  # fmt: skip
    whole = train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "parts")
    kept = checkpoints(tmp_path / "parts" / "checkpoints")
    assert [step_of(one) for one in kept] == [3, 6, 8]
    keep_first(tmp_path / "parts" / "checkpoints", 3)
    again = train(recipe, tmp_path / "parts", resume=True)
    assert again.step == whole.step == STEPS
    ours, theirs = (weights(one.folder / "checkpoints" / "checkpoint-8") for one in (whole, again))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # The mean that is logged at step 4 has only one step in it after the restart at step 3.
    ramps = [
        {one["step"]: one["document_lambda"] for one in read_log(run) if one["event"] == "step"}
        for run in (whole.folder, again.folder)
    ]
    assert all(ramps[0][step] == ramps[1][step] > 0 for step in (6, 8))


def keep_first(folder: Path, step: int) -> None:
    for path in checkpoints(folder):
        if step_of(path) > step:
            shutil.rmtree(path)


def test_gradcache_trains_as_the_whole_batch_does(
    masked: Path, pairs: Path, tmp_path: Path
) -> None:
    settings = {"steps": 4, "batch_size": 6, "lr": 1e-3, "threads": 1, "log_steps": 1}
    runs = []
    for name, added in (("plain", {}), ("parts", {"cache_chunk": 4})):
        recipe = recipe_of(masked, pairs, train={**settings, **added})
        outcome = train(recipe, tmp_path / name)
        runs.append([one for one in read_log(outcome.folder) if one["event"] == "step"])
    for plain, parts in zip(*runs, strict=True):
        for value in ("loss", "infonce", "kl", "document_flops", "gradient"):
            assert parts.get(value, 0) == pytest.approx(plain.get(value, 0), rel=2e-3), value


def test_bf16_trains(masked: Path, pairs: Path, tmp_path: Path) -> None:
    settings = {"steps": 3, "batch_size": 4, "lr": 1e-3, "threads": 1, "precision": "bf16"}
    outcome = train(recipe_of(masked, pairs, train=settings), tmp_path / "run")
    assert outcome.step == 3
    with pytest.raises(ConfigError, match="no GPU"):
        train(recipe_of(masked, pairs, train={**settings, "precision": "fp16"}), tmp_path / "other")


def test_a_loss_that_is_not_finite_names_the_batch_and_keeps_the_last_checkpoint(
    masked: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Objective.__call__

    def poisoned(self: Objective, queries: Any, documents: Any, candidates: Any, step: int) -> Loss:
        loss = real(self, queries, documents, candidates, step)
        return loss._replace(total=loss.total * float("nan")) if step == 5 else loss

    monkeypatch.setattr(Objective, "__call__", poisoned)
    recipe = recipe_of(
        masked, pairs,
        train={"steps": 8, "batch_size": 4, "lr": 1e-3, "threads": 1, "checkpoint_steps": 2},
    )  # fmt: skip
    with pytest.raises(LsrError, match=r"step 6: the loss is nan .*pairs\.jsonl:\d+.*checkpoint-4"):
        train(recipe, tmp_path / "run")
    assert step_of(checkpoints(tmp_path / "run" / "checkpoints")[-1]) == 4
    monkeypatch.setattr(Objective, "__call__", real)
    assert train(recipe, tmp_path / "run", resume=True).step == 8


def test_a_gradient_that_is_not_finite_stops_the_run(
    masked: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        trainer_module.Trainer, "_get_grad_norm", lambda self, model, grad_norm=None: float("inf")
    )
    with pytest.raises(LsrError, match=r"step 1: the length of the gradient is inf, with the exam"):
        train(recipe_of(masked, pairs), tmp_path / "run")


@pytest.mark.parametrize("raised", ["os", "torch"])
def test_a_disk_that_fills_during_a_checkpoint_leaves_the_last_good_one(
    masked: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: str
) -> None:
    real = trainer_module.save_model

    def full(model: Any, file: str) -> None:
        if "checkpoint-4" in file:
            Path(file).write_bytes(b"a part of it")
            if raised == "os":
                raise OSError(errno.ENOSPC, "No space left on device")
            raise RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/3")
        real(model, file)

    monkeypatch.setattr(trainer_module, "save_model", full)
    recipe = recipe_of(
        masked, pairs,
        train={"steps": 8, "batch_size": 4, "lr": 1e-3, "threads": 1, "checkpoint_steps": 2},
    )  # fmt: skip
    with pytest.raises(StorageError, match="checkpoint-4: write failed: the disk is full"):
        train(recipe, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["checkpoint-2"]
    monkeypatch.setattr(trainer_module, "save_model", real)
    assert train(recipe, tmp_path / "run", resume=True).step == 8


def test_training_stops_when_the_dev_set_gets_no_better(
    masked: Path, pairs: Path, dev: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(
        masked, pairs,
        train={"steps": 40, "batch_size": 4, "lr": 0.0, "threads": 1},
        dev={"sets": [str(dev)], "every_steps": 2, "patience": 3},
    )  # fmt: skip
    outcome = train(recipe, tmp_path / "run")
    assert (outcome.step, outcome.why, outcome.finished) == (6, "patience", True)


def test_a_signal_stops_behind_a_checkpoint_and_the_run_goes_on(
    masked: Path, pairs: Path, tmp_path: Path
) -> None:
    import signal

    sent = []

    def interrupt(line: str) -> None:
        if line.startswith("step 4 ") and not sent:
            sent.append(line)
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = recipe_of(masked, pairs)
    before = signal.getsignal(signal.SIGTERM)
    outcome = train(recipe, tmp_path / "run", say=interrupt)
    assert (outcome.why, outcome.finished) == ("signal", False)
    assert outcome.step < STEPS
    assert signal.getsignal(signal.SIGTERM) == before
    assert train(recipe, tmp_path / "run", resume=True).step == STEPS


def test_a_time_limit_stops_the_run(masked: Path, pairs: Path, tmp_path: Path) -> None:
    settings = {"steps": 500, "batch_size": 4, "lr": 1e-3, "threads": 1, "max_minutes": 1e-6}
    outcome = train(recipe_of(masked, pairs, train=settings), tmp_path / "run")
    assert (outcome.step, outcome.why) == (1, "time")


def test_data_that_could_not_be_read_leave_no_run_behind(
    masked: Path, pairs: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"query": "q"}\n')
    settings = {"steps": 1, "batch_size": 4, "threads": 1}
    with pytest.raises(DataError, match=r"broken\.jsonl:1"):
        train(recipe_of(masked, broken, train=settings), tmp_path / "run")
    assert train(recipe_of(masked, pairs, train=settings), tmp_path / "run").step == 1


def test_a_folder_with_a_run_is_resumed_or_refused(
    masked: Path, pairs: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(masked, pairs, train={"steps": 2, "batch_size": 4, "threads": 1})
    with pytest.raises(ConfigError, match="holds no run to resume"):
        train(recipe, tmp_path / "run", resume=True)
    train(recipe, tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run"):
        train(recipe, tmp_path / "run")
    said: list[str] = []
    changed = recipe_of(masked, pairs, train={"steps": 4, "batch_size": 4, "threads": 1})
    assert train(changed, tmp_path / "run", resume=True, say=said.append).step == 4
    assert "resumed with another train.steps: 2 before, 4 now" in said


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"data": {"sources": []}}, "names no data"),
        ({"data": {"documents_per_query": 1}}, "nothing to rank"),
        ({"dev": {"sets": ["nowhere"]}}, "there is no folder"),
        ({"dev": {"measure": "beauty"}, "with_dev": {}}, "ir_measures does not know"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_training(
    masked: Path, pairs: Path, dev: Path, tmp_path: Path, sections: dict[str, Any], reason: str
) -> None:
    if sections.pop("with_dev", None) is not None:
        sections["dev"] = {**sections["dev"], "sets": [str(dev)]}
    recipe = recipe_of(masked, pairs)
    for name, values in sections.items():
        part = getattr(recipe, name)
        setattr(recipe, name, type(part).model_validate({**part.model_dump(), **values}))
    with pytest.raises(ConfigError, match=reason):
        train(recipe, tmp_path / "run")


def test_a_head_that_would_collapse_is_refused(masked: Path, pairs: Path, tmp_path: Path) -> None:
    folder = shifted(masked, tmp_path / "hot", 20.0)
    with pytest.raises(ModelError, match="training would collapse"):
        train(recipe_of(folder, pairs), tmp_path / "run")


def test_a_dry_run_explains_every_setting_and_what_is_missing(masked: Path, pairs: Path) -> None:
    recipe = recipe_of(masked, pairs)
    lines = list(explain(recipe))
    assert any(line.startswith("* train.batch_size = 4  # queries in a batch") for line in lines)
    assert any(line.startswith("  train.weight_decay = 0.01") for line in lines)
    recipe.data.sources[0].path = "nowhere.jsonl"
    assert any(line.endswith("nowhere.jsonl  (NOT FOUND)") for line in explain(recipe))


def test_a_checkpoint_folder_is_replaced_whole(tmp_path: Path) -> None:
    def fill(text: str) -> Callable[[Path], None]:
        return lambda folder: (folder / "a").write_text(text) and None

    target = tmp_path / "checkpoint-1"
    write_folder(target, fill("old"))
    with pytest.raises(ZeroDivisionError):
        write_folder(target, lambda folder: print(1 / 0))  # noqa: T201
    assert (target / "a").read_text() == "old"
    write_folder(target, fill("new"))
    assert (target / "a").read_text() == "new"
    write_folder(tmp_path / "checkpoint-20", fill("x"))
    write_folder(tmp_path / "checkpoint-3", fill("x"))
    keep_newest(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-20"]


def test_the_batches_of_several_processes_are_shares_of_one(
    masked: Path, pairs: Path, tmp_path: Path
) -> None:
    trainer = prepare_trainer(recipe_of(masked, pairs), tmp_path / "run")
    whole = next(iter(trainer.batches))
    shares = []
    for rank in range(2):
        trainer.batches._share = (rank, 2)
        shares.append(next(iter(trainer.batches)))
    assert sorted([*shares[0]["examples"], *shares[1]["examples"]]) == sorted(whole["examples"])


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_whole_batch(
    masked: Path, pairs: Path, tmp_path: Path
) -> None:
    def file(name: str, batch: int) -> Path:
        text = (
            f'[model]\ninit = "{masked}"\ndocument_length = 16\nquery_length = 16\n'
            '[model.query]\nkind = "mlm"\n[rank.infonce]\nweight = 1.0\n'
            '[regularise.document]\nkind = "flops"\nweight = 0.1\n'
            f'[[data.sources]]\npath = "{pairs}"\n'
            f"[train]\nsteps = 3\nbatch_size = {batch}\nlr = 1e-3\nthreads = 1\nlog_steps = 1\n"
        )
        path = tmp_path / f"{name}.toml"
        path.write_text(text, "utf-8")
        return path

    runs = []
    for name, batch, start in (
        ("one", 8, ["-m", "lsr"]),
        ("two", 4, ["-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "lsr"]),
    ):
        done = subprocess.run(
            [sys.executable, *start, "train", str(file(name, batch)), "--out", name],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        runs.append([one for one in read_log(tmp_path / name) if one["event"] == "step"])
    for one, two in zip(*runs, strict=True):
        for value in ("loss", "infonce", "document_terms"):
            assert two[value] == pytest.approx(one[value], rel=5e-3), value
