from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lsr.encoder import BUNDLED, DEFAULT_MODEL, ModelEncoder, load_encoder
from lsr.errors import ConfigError, DataError, ModelError, OfflineError
from lsr.model_files import find_model, is_offline
from lsr.model_folder import read_model_folder
from lsr.model_save import save_router, save_symmetric
from lsr.sparse import SparseVectors

BUNDLED_FOLDER = find_model(BUNDLED)

#: From the original float32 weights of rasyosef/splade-tiny, which the bundled model began with, by
#: sentence-transformers.
GOLDEN = {
    "best pizza in new york": {
        "pizza": 2.331,
        "haven": 2.039,
        "best": 1.970,
        "york": 1.869,
        "candy": 1.425,
        "new": 1.249,
        "biggest": 1.066,
        "city": 1.028,
    },
    "The Eiffel tower is in Paris.": {
        "paris": 2.153,
        "tower": 2.121,
        "e": 2.009,
        "##el": 1.871,
        "##iff": 1.637,
        "where": 1.191,
        "france": 0.952,
    },
}

TEXTS = [
    "Cats purr when they are content, and sometimes when they are in pain.",
    "The Eiffel tower is in Paris.",
    "",
    "   ",
    "a\x00b \ufeff zero width",
    "日本語のテキスト and [SEP] [MASK] markers",
    *(f"passage {number} about topic {number % 7} " * (1 + number % 9) for number in range(60)),
]


@pytest.fixture(scope="module")
def bundled() -> ModelEncoder:
    encoder = load_encoder()
    assert isinstance(encoder, ModelEncoder)
    return encoder


@pytest.fixture(scope="module")
def symmetric(tmp_path_factory: pytest.TempPathFactory) -> ModelEncoder:
    """The bundled network on both sides, without what is added to its head."""
    folder = tmp_path_factory.mktemp("models") / "symmetric"
    save_symmetric(BUNDLED_FOLDER, folder, max_seq_length=512, half=True)
    encoder = load_encoder(folder)
    assert isinstance(encoder, ModelEncoder)
    return encoder


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "inference-free"
    table = np.random.default_rng(1).uniform(0, 6, 30522).astype(np.float32)
    table[:1000] = 0
    save_router(BUNDLED_FOLDER, table, folder, activation="log1p_relu", half=True)
    return folder


def as_tokens(encoder: ModelEncoder, vectors: SparseVectors, row: int = 0) -> dict[str, float]:
    found = vectors[row]
    names = encoder.tokens(found.terms.tolist())
    return dict(zip(names, found.weights.tolist(), strict=True))


def largest_difference(left: SparseVectors, right: SparseVectors) -> float:
    return float(abs(left.to_scipy() - right.to_scipy()).max())


def test_bundled_model_is_small_licensed_and_inference_free(bundled: ModelEncoder) -> None:
    files = [path for path in BUNDLED_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10_000_000
    assert bundled.licence == "mit" and "MIT License" in (BUNDLED_FOLDER / "LICENSE").read_text()
    assert DEFAULT_MODEL == BUNDLED == bundled.name
    assert bundled.info()["query"]["kind"] == "table"
    rows = bundled.encode_documents(TEXTS)
    assert np.diff(rows.indptr).max() <= 150
    network = bundled.info()["document"]
    assert network["frequency"] is True and network["window"] == 150


def test_the_bundled_model_gives_golden_vectors(bundled: ModelEncoder) -> None:
    """What it gave when it was trained: documents with terms of their own and others, queries."""
    asked = as_tokens(bundled, bundled.encode_queries(["best pizza in new york"]))
    expected = {"pizza": 1.864, "york": 1.119, "best": 0.992, "new": 0.719, "in": 0.189}
    assert asked == pytest.approx(expected, abs=2e-3)
    found = as_tokens(bundled, bundled.encode_documents(["The Eiffel tower is in Paris."]))
    best = {"tower": 3.515, "paris": 3.440, "e": 2.558, "##iff": 2.536, "##el": 2.455,
            "france": 1.220, "where": 1.180}  # fmt: skip
    assert sorted(found, key=lambda token: -found[token])[:7] == list(best)
    for token, weight in best.items():
        assert found[token] == pytest.approx(weight, abs=1e-2)


def test_the_model_it_began_with_gives_golden_vectors(shared: Path) -> None:
    encoder = load_encoder(shared / "models" / "splade-tiny")
    assert isinstance(encoder, ModelEncoder)
    for text, weights in GOLDEN.items():
        found = as_tokens(encoder, encoder.encode_queries([text]))
        assert list(sorted(found, key=lambda token: -found[token]))[:6] == list(weights)[:6]
        for token, weight in weights.items():
            assert found[token] == pytest.approx(weight, abs=1e-2)


def test_numpy_and_torch_paths_agree(symmetric: ModelEncoder) -> None:
    few = symmetric.encode_queries(TEXTS[:20])
    assert largest_difference(few, symmetric.encode_documents(TEXTS[:20])) < 1e-4


def test_outcome_does_not_depend_on_threads_or_progress(bundled: ModelEncoder) -> None:
    finished: list[int] = []
    one = bundled.encode_documents(TEXTS, threads=1, on_progress=finished.append)
    assert one == bundled.encode_documents(TEXTS, threads=2)
    assert one == bundled.encode_documents(TEXTS, threads=3)
    assert sum(finished) == len(TEXTS) == len(one)


def test_windows_are_joined_in_order(
    bundled: ModelEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bundled.encode_documents(TEXTS)
    monkeypatch.setattr("lsr.splade_batches.WINDOW", 7)
    assert largest_difference(whole, bundled.encode_documents(TEXTS)) < 1e-4


def test_torch_threads_are_as_before_after_encoding(bundled: ModelEncoder) -> None:
    import torch

    before = torch.get_num_threads()
    bundled.encode_documents(TEXTS[:3], threads=2)
    assert torch.get_num_threads() == before


def test_overlapping_calls_leave_the_environment_as_it_was(
    bundled: ModelEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: bundled.encode_queries([text]), TEXTS[:8] * 3))
    assert "TOKENIZERS_PARALLELISM" not in os.environ
    assert found[:8] == found[8:16] == found[16:]


def test_no_texts_give_no_vectors(bundled: ModelEncoder) -> None:
    assert len(bundled.encode_documents([])) == len(bundled.encode_queries([])) == 0
    assert bundled.encode_queries([]).vocab_size == 30522


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["fine", "lone \ud800 surrogate"], "text 1 holds a lone surrogate at character 5"),
        (["fine", 3], "text 1 is int"),
        ("not a list", "one string"),
    ],
)
def test_texts_that_are_not_text_are_refused(
    bundled: ModelEncoder, texts: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        bundled.encode_documents(texts)


def test_huge_text_is_cut_before_it_is_tokenized_and_equals_its_beginning() -> None:
    encoder = load_encoder(max_seq_length=32)
    words = "wonderful elephants walk slowly through the tall grass of the savanna "
    huge = words * 150_000  # 10 MB
    blanks = " " * 5_000 + words * 40
    start = encoder.encode_queries([words * 10, "\u0301 " * 3_000 + words * 40, blanks])
    assert encoder.encode_queries([huge]) == start.slice(0, 1)
    assert encoder.encode_queries(["\u0301 " * 90_000 + huge, "\n" + blanks]) == start.slice(1, 3)


def test_interrupt_in_progress_ends_the_encoding_and_its_threads(bundled: ModelEncoder) -> None:
    import torch

    before = torch.get_num_threads()

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bundled.encode_documents(TEXTS * 20, threads=2, on_progress=interrupt)
    assert not [thread for thread in threading.enumerate() if "lsr-encode" in thread.name]
    assert torch.get_num_threads() == before
    assert len(bundled.encode_documents(TEXTS[:2])) == 2


def test_counted_tokens_are_uncut_and_without_special_ones(bundled: ModelEncoder) -> None:
    assert bundled.count_tokens("The Eiffel tower") == 5
    assert bundled.count_tokens("cat " * 5000) == 5000
    assert bundled.max_seq_length == 512


def test_tokens_of_terms_and_terms_without_token(bundled: ModelEncoder) -> None:
    assert bundled.token(bundled.vocabulary["pizza"]) == "pizza"
    assert bundled.token(40_000) == "#40000"


def test_info_describes_both_sides(router: Path) -> None:
    info = load_encoder(router, side="query").info()
    assert info["layout"] == "router" and info["query"]["kind"] == "table"
    assert info["document"]["activation"] == "log1p_relu"
    assert json.dumps(info)


def test_query_side_of_an_inference_free_model_imports_neither_torch_nor_transformers(
    router: Path,
) -> None:
    code = (
        "import sys; from lsr.encoder import load_encoder; "
        f"encoder = load_encoder({str(router)!r}, side='query'); "
        "vectors = encoder.encode_queries(['where is the eiffel tower']); "
        "heavy = {'torch', 'transformers', 'scipy', 'numba'} & set(sys.modules); "
        "print(vectors.nnz, sorted(heavy))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True
    )
    assert ran.stdout.split(maxsplit=1) == ["7", "[]\n"]


def test_few_queries_through_the_bundled_model_import_no_torch() -> None:
    code = (
        "import sys; from lsr.encoder import load_encoder; "
        "load_encoder().encode_queries(['pizza']); "
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True
    )
    assert ran.stdout == "[]\n"


def test_static_query_has_the_table_weight_of_each_distinct_token(router: Path) -> None:
    encoder = load_encoder(router, side="query")
    row = encoder.encode_queries(["Cats cats and DOGS"])[0]
    vocabulary = encoder.vocabulary
    terms = sorted(vocabulary[token] for token in ("cats", "and", "dogs"))
    assert row.terms.tolist() == terms
    table = np.random.default_rng(1).uniform(0, 6, 30522).astype(np.float32)
    assert row.weights.tolist() == table[terms].tolist()
    with pytest.raises(ModelError, match="loaded for queries only"):
        encoder.encode_documents(["x"])


def test_fingerprint_is_the_same_for_both_ways_of_loading_and_any_name(
    router: Path, tmp_path: Path
) -> None:
    query = load_encoder(router, side="query").fingerprint
    assert query == load_encoder(router).fingerprint
    moved = tmp_path / "elsewhere"
    shutil.copytree(BUNDLED_FOLDER, moved)
    (moved / "README.md").write_text("another card")
    assert load_encoder(moved).fingerprint == load_encoder().fingerprint != query


def test_fingerprint_changes_with_settings_and_weights(tmp_path: Path) -> None:
    prints = {load_encoder().fingerprint, load_encoder(max_seq_length=100).fingerprint}
    variants: list[dict[str, object]] = [
        {"pooling": "sum"},
        {"activation": "log1p_relu"},
        {"prompts": {"query": "query: "}},
        {"half": False},
    ]
    for number, settings in enumerate(variants):
        folder = tmp_path / str(number)
        save_symmetric(BUNDLED_FOLDER, folder, max_seq_length=512, **{"half": True, **settings})  # type: ignore[arg-type]
        prints.add(load_encoder(folder, side="query").fingerprint)
    assert len(prints) == 6


def test_max_active_dims_keeps_the_largest_weights(tmp_path: Path, symmetric: ModelEncoder) -> None:
    save_symmetric(BUNDLED_FOLDER, tmp_path / "m", half=True)
    settings = tmp_path / "m" / "config_sentence_transformers.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "max_active_dims": 5}))
    limited = load_encoder(tmp_path / "m").encode_documents([TEXTS[0]])
    every = np.sort(symmetric.encode_documents([TEXTS[0]])[0].weights)
    assert np.sort(limited[0].weights).tolist() == every[-5:].tolist()


def test_arguments_out_of_range_are_refused(bundled: ModelEncoder) -> None:
    with pytest.raises(ConfigError, match="threads is 0"):
        bundled.encode_documents(["x"], threads=0)
    with pytest.raises(ConfigError, match="max_seq_length is 2"):
        load_encoder(max_seq_length=2)
    with pytest.raises(ConfigError, match="side is 'left'"):
        load_encoder(side="left")  # type: ignore[arg-type]


def test_limit_never_goes_beyond_the_positions_of_the_model() -> None:
    assert read_model_folder(BUNDLED_FOLDER, max_seq_length=9000).document.max_seq_length == 512


def test_hub_model_that_is_not_here_is_an_offline_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LSR_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert is_offline()
    with pytest.raises(OfflineError, match="naver/splade-nowhere is not on this machine") as caught:
        load_encoder("naver/splade-nowhere")
    assert caught.value.hint is not None and "hf download naver/splade-nowhere" in caught.value.hint


@pytest.mark.parametrize("name", ["./nowhere", "nowhere", "/no/where/at/all", Path("no/where")])
def test_folder_that_is_not_there_is_named(name: str | Path) -> None:
    with pytest.raises(ModelError, match="there is no model folder"):
        load_encoder(name)


def test_offline_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LSR_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    assert not is_offline()
