from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from train_cases import QUERIES

from lsr.encoder import load_encoder
from lsr.errors import ConfigError, ModelError
from lsr.model_save import save_router
from lsr.train.soup import make_soup


@pytest.fixture
def models(masked: Path, tmp_path: Path) -> list[Path]:
    """Two inference-free models: the second has everything twice as large."""
    found = []
    size = json.loads((masked / "config.json").read_text("utf-8"))["vocab_size"]
    for factor in (1.0, 2.0):
        folder = tmp_path / f"model-{factor:g}"
        save_router(masked, np.full(size, factor, np.float32), folder)
        tensors = load_file(folder / "model.safetensors")
        scaled = {name: part * np.float32(factor) for name, part in tensors.items()}
        save_file(scaled, folder / "model.safetensors", metadata={"format": "pt"})
        found.append(folder)
    return found


def test_a_soup_is_the_weighted_mean_of_every_tensor(models: list[Path], tmp_path: Path) -> None:
    make_soup(models, tmp_path / "soup", shares=[3, 1])
    first = load_file(models[0] / "model.safetensors")
    mixed = load_file(tmp_path / "soup" / "model.safetensors")
    for name, tensor in first.items():
        np.testing.assert_allclose(mixed[name], 1.25 * tensor, rtol=1e-6)
    vector = load_encoder(tmp_path / "soup").encode_queries([QUERIES[0]])[0]
    assert set(vector.weights.tolist()) == {1.25}
    table = json.loads((tmp_path / "soup" / "idf.json").read_text("utf-8"))
    assert table["cats"] == 1.25


def test_models_of_another_kind_are_no_ingredients(
    models: list[Path], masked: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"differ in modules\.json"):
        make_soup([models[0], masked], tmp_path / "soup")
    tensors = load_file(models[1] / "model.safetensors")
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name][:1]}, models[1] / "model.safetensors")
    with pytest.raises(ModelError, match=name):
        make_soup(models, tmp_path / "soup")
    assert not (tmp_path / "soup").exists()


def test_a_soup_needs_two_models_shares_that_fit_and_a_new_folder(
    models: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="at least two"):
        make_soup(models[:1], tmp_path / "soup")
    with pytest.raises(ConfigError, match="1 shares were given for 2 models"):
        make_soup(models, tmp_path / "soup", shares=[1.0])
    with pytest.raises(ConfigError, match="is there already"):
        make_soup(models, models[0])
    with pytest.raises(ModelError, match="neither a model folder nor a checkpoint"):
        make_soup([models[0], tmp_path], tmp_path / "soup")
