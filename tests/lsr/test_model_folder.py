from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lsr.encoder import load_encoder
from lsr.errors import ConfigError, ModelError
from lsr.model_files import find_model
from lsr.model_folder import NetworkSide, TableSide, read_model_folder
from lsr.model_save import save_router, save_symmetric
from lsr.weights import WeightFiles

BUNDLED = find_model("bundled")
TABLE = np.ones(30522, np.float32)


def copied(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save_symmetric(BUNDLED, folder, max_seq_length=512, half=True)
    return folder


def change(file: Path, **values: object) -> None:
    content = json.loads(file.read_text("utf-8"))
    content.update(values)
    file.write_text(json.dumps(content), "utf-8")


def set_modules(folder: Path, *types: str) -> None:
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(types))][: len(types)]
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(zip(paths, types, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))


def drop_tensors(folder: Path, prefix: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
    save_file(kept, folder / "model.safetensors")


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def grow_tokenizer(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokenizer["model"]["vocab"]["extraordinary"] = 30_522
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")


def as_plain_bert(folder: Path) -> None:
    (folder / "modules.json").unlink()
    change(folder / "config.json", architectures=["BertModel"])


def without_architecture_and_head(folder: Path) -> None:
    change(folder / "config.json", architectures=None)
    drop_tensors(folder, "cls.")


def as_cross_encoder(folder: Path) -> None:
    (folder / "modules.json").unlink()
    change(folder / "config.json", architectures=["BertForSequenceClassification"])


def as_feature_extractor(folder: Path) -> None:
    set_modules(folder, "Transformer", "SpladePooling")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "plain BertModel": (as_plain_bert, "BertModel, which has no masked language model head"),
    "no head in the weights": (without_architecture_and_head, "no masked language model head"),
    "other body": (lambda at: drop_tensors(at, "bert."), "not a masked language model"),
    "a layer is missing": (lambda at: drop_tensors(at, "bert.encoder.layer.1"), "no tensor 'bert"),
    "dense modules": (lambda at: set_modules(at, "Transformer", "Pooling"), "dense .*Pooling"),
    "dense type": (
        lambda at: change(
            at / "config_sentence_transformers.json", model_type="SentenceTransformer"
        ),
        "is a SentenceTransformer, not a SparseEncoder",
    ),
    "cross-encoder type": (
        lambda at: change(at / "config_sentence_transformers.json", model_type="CrossEncoder"),
        "CrossEncoder",
    ),
    "cross-encoder": (as_cross_encoder, "BertForSequenceClassification, a classifier"),
    "CSR": (
        lambda at: set_modules(at, "SparseAutoEncoder", "Pooling"),
        "SparseAutoEncoder module",
    ),
    "unknown chain": (lambda at: set_modules(at, "MLMTransformer"), "chain of MLMTransformer"),
    "feature extraction": (as_feature_extractor, "set up for feature-extraction"),
    "no config": (lambda at: (at / "config.json").unlink(), "config.json is missing"),
    "broken config": (lambda at: (at / "config.json").write_text("{"), "cannot be read as JSON"),
    "listed config": (lambda at: (at / "config.json").write_text("[]"), "holds a list"),
    "broken modules": (lambda at: (at / "modules.json").write_text("["), "cannot be read as JSON"),
    "modules are no list": (lambda at: (at / "modules.json").write_text("{}"), "not a list"),
    "module path leads out": (
        lambda at: (at / "modules.json").write_text(
            json.dumps([{"idx": 0, "path": "../x", "type": "a.MLMTransformer"}, {}])
        ),
        "module has no|leads out",
    ),
    "no weights": (lambda at: (at / "model.safetensors").unlink(), "no model.safetensors"),
    "cut weights": (cut_weights, "is cut short"),
    "empty weights": (lambda at: (at / "model.safetensors").write_bytes(b""), "cut short"),
    "not weights": (
        lambda at: (at / "model.safetensors").write_bytes(b"\x05" + bytes(7) + b"hello"),
        "not a safetensors file",
    ),
    "pickle": (only_pickle, "only as a pickle"),
    "no tokenizer": (lambda at: (at / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "broken tokenizer": (lambda at: (at / "tokenizer.json").write_text("{}"), "not a tokenizer"),
    "larger tokenizer": (grow_tokenizer, "30523 tokens but the model has a vocabulary of 30522"),
    "pooling": (
        lambda at: change(at / "1_SpladePooling" / "config.json", pooling_strategy="mean"),
        "SpladePooling with 'mean'",
    ),
    "prompts": (
        lambda at: change(at / "config_sentence_transformers.json", prompts=["x"]),
        "`prompts` is not an object",
    ),
    "default prompt": (
        lambda at: change(at / "config_sentence_transformers.json", default_prompt_name="x"),
        "'x' is not among the prompts",
    ),
    "active dims": (
        lambda at: change(at / "config_sentence_transformers.json", max_active_dims=0),
        "max_active_dims is 0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_folder_that_is_not_a_whole_sparse_encoder_is_refused_by_name(
    case: str, tmp_path: Path
) -> None:
    folder = copied(tmp_path)
    spoil, message = REFUSED[case]
    spoil(folder)
    with pytest.raises(ModelError, match=message):
        load_encoder(folder)


def test_folder_without_any_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither modules.json nor config.json"):
        load_encoder(tmp_path)


def test_symmetric_folder_is_read_back(tmp_path: Path) -> None:
    save_symmetric(
        BUNDLED,
        tmp_path / "m",
        pooling="sum",
        activation="log1p_relu",
        max_seq_length=99,
        prompts={"query": "q: ", "document": "d: "},
        half=True,
    )
    found = read_model_folder(tmp_path / "m")
    side = NetworkSide(tmp_path / "m", 99, pooling="sum", activation="log1p_relu")
    assert (found.layout, found.query, found.document) == ("symmetric", side, side)
    assert (found.query_prompt, found.document_prompt) == ("q: ", "d: ")


@pytest.mark.parametrize("older", [False, True])
def test_router_folder_is_read_back_with_either_name_of_the_table(
    tmp_path: Path, older: bool
) -> None:
    folder = tmp_path / "m"
    save_router(BUNDLED, TABLE, folder, half=True)
    name = "query_0_SparseStaticEmbedding"
    if older:
        (folder / name).rename(folder / "query_0_IDF")
        text = (folder / "router_config.json").read_text()
        text = text.replace(name, "query_0_IDF").replace("SparseStaticEmbedding", "IDF")
        (folder / "router_config.json").write_text(text)
        name = "query_0_IDF"
    found = read_model_folder(folder)
    assert found.layout == "router"
    assert found.query == TableSide(folder / name, 512)
    assert found.document == NetworkSide(folder, 512)


def test_bare_folder_is_read_with_defaults(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        shutil.copy(BUNDLED / name, folder)
    found = read_model_folder(folder)
    assert (found.layout, found.query) == ("bare", NetworkSide(folder, 512))


def test_router_whose_sides_have_other_vocabularies_is_refused(tmp_path: Path) -> None:
    save_router(BUNDLED, np.ones(30_600, np.float32), tmp_path / "m", half=True)
    with pytest.raises(ModelError, match="30600 terms, the document side 30522"):
        load_encoder(tmp_path / "m")


def test_table_smaller_than_its_tokenizer_is_refused(tmp_path: Path) -> None:
    save_router(BUNDLED, TABLE, tmp_path / "m", half=True)
    file = tmp_path / "m" / "query_0_SparseStaticEmbedding" / "model.safetensors"
    save_file({"weight": TABLE[:100]}, file)
    with pytest.raises(ModelError, match="30522 tokens but the table has 100 weights"):
        load_encoder(tmp_path / "m", side="query")


def test_router_without_a_query_route_is_refused(tmp_path: Path) -> None:
    save_router(BUNDLED, TABLE, tmp_path / "m", half=True)
    file = tmp_path / "m" / "router_config.json"
    change(file, structure={"document": [""]})
    with pytest.raises(ModelError, match="no route for query"):
        load_encoder(tmp_path / "m")


def test_folder_that_has_files_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(ConfigError, match="not an empty folder"):
        save_symmetric(BUNDLED, tmp_path)


def test_weights_of_every_float_type_and_of_shards_come_as_float32(tmp_path: Path) -> None:
    values = np.array([[1.5, -2.0], [0.25, 8.0]], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    header = {"b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}
    raw = json.dumps(header).encode()
    (tmp_path / "two.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + bits)
    halves = {"f16": values.astype(np.float16), "f32": values, "f64": values.astype(np.float64)}
    save_file(halves, tmp_path / "one.safetensors")
    shards = {**dict.fromkeys(halves, "one.safetensors"), "b": "two.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    files = WeightFiles(tmp_path)
    assert files.names == {"f16", "f32", "f64", "b"} and files.shape("b") == (2, 2)
    for name in files.names:
        tensor = files.tensor(name)
        assert tensor.dtype == np.float32 and tensor.tolist() == values.tolist()
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lists two.safetensors, which is not in the folder"):
        WeightFiles(tmp_path)
