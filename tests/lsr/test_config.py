from __future__ import annotations

from pathlib import Path

import pytest

from lsr.config import Settings, load_settings, parse_size, rows, unknown_variables
from lsr.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, text: str, name: str = "lsr.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("1b", 1),
        ("4096", 4096),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("512MiB", 512 * 2**20),
        ("1GB", 10**9),
        ("1g", 10**9),
        ("1.5 GB", 1_500_000_000),
        ("2TiB", 2 * 2**40),
        (7, 7),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str | int, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 PB", "one", "0", "0.1", "1e9", True])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="size is"):
        parse_size(text)


def test_without_anything_the_defaults_hold(folder: Path) -> None:
    loaded = load_settings(environ={}, folder=folder)
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}


def test_a_flag_beats_the_environment_which_beats_the_file(folder: Path) -> None:
    path = write(folder, "k = 2\nthreads = 2\nmodel = 'a'\n")
    environ = {"LSR_K": "3", "LSR_THREADS": "3"}
    loaded = load_settings(environ=environ, folder=folder, flags={"k": 4, "model": None})
    assert (loaded.settings.k, loaded.settings.threads, loaded.settings.model) == (4, 3, "a")
    assert loaded.origins["k"] == "flag"
    assert loaded.origins["threads"] == "env LSR_THREADS"
    assert loaded.origins["model"] == f"lsr.toml:{path}"
    assert loaded.origins["memory"] == "default"


def test_tables_and_nested_variables_reach_nested_settings(folder: Path) -> None:
    write(folder, "[passages]\nenabled = true\ntokens = 99\n")
    found = load_settings(environ={"LSR_PASSAGES__OVERLAP": "7"}, folder=folder).settings.passages
    assert (found.enabled, found.tokens, found.overlap) == (True, 99, 7)


def test_types_of_the_environment_are_parsed(folder: Path) -> None:
    environ = {"LSR_OFFLINE": "1", "LSR_VERIFY": "no", "LSR_MEMORY": "2GiB", "LSR_CACHE": "/c"}
    found = load_settings(environ=environ, folder=folder).settings
    assert found.offline is True
    assert found.verify is False
    assert found.memory == 2 * 2**30
    assert found.cache == Path("/c")


def test_an_empty_variable_is_no_value(folder: Path) -> None:
    assert load_settings(environ={"LSR_K": ""}, folder=folder).origins["k"] == "default"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("modle = 'x'", ["'modle' is not a setting", "did you mean model"]),
        ("[passages]\ntoken = 1", ["'passages.token'", "did you mean passages.tokens"]),
        ("passages = 3", ["passages is 3", "table [passages]"]),
        ("k = '10'", ["k is '10'", "valid integer"]),
        ("k = true", ["k is True", "valid integer"]),
        ("k = 0", ["k is 0", "at least 1"]),
        ("k = [1]", ["k is [1]", "valid integer"]),
        ("offline = 1", ["offline is 1", "valid boolean"]),
        ("memory = 'lots'", ["memory", "'lots'"]),
        ("on_error = 'ignore'", ["on_error is 'ignore'", "'stop' or 'skip'"]),
        ("log_level = 'loud'", ["'debug', 'info', 'warning' or 'error'"]),
        ("K = 5", ["'K' is not a setting"]),
        ("model = 1979-01-01", ["model is", "valid string"]),
        ("k =", ["is not TOML"]),
    ],
)
def test_a_bad_file_is_refused_by_key_value_and_what_was_expected(
    folder: Path, text: str, parts: list[str]
) -> None:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={}, folder=folder)
    assert str(path) in caught.value.message
    for part in parts:
        assert part in caught.value.message


def test_a_bad_variable_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="env LSR_K: k is 'ten'; expected a valid integer"):
        load_settings(environ={"LSR_K": "ten"})


def test_a_file_that_was_asked_for_must_be_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="there is no settings file"):
        load_settings(folder / "none.toml", environ={})
    path = write(folder, "k = 5", "other.toml")
    assert load_settings(path, environ={}).settings.k == 5


def test_every_setting_is_documented() -> None:
    found = rows(load_settings(environ={}))
    assert {row["key"] for row in found} >= {"model", "k", "passages.tokens"}
    assert all(row["help"] for row in found)


def test_variables_that_nothing_reads_are_named_with_near_matches() -> None:
    [sentence] = unknown_variables({"LSR_MODLE": "x", "LSR_MODEL": "y", "HOME": "/"})
    assert sentence.startswith("LSR_MODLE is not a setting; did you mean LSR_MODEL")


def test_a_path_in_a_file_is_a_path(folder: Path) -> None:
    write(folder, 'cache = "/c"')
    assert load_settings(environ={}, folder=folder).settings.cache == Path("/c")


def test_a_bad_value_in_a_file_is_said_even_where_a_variable_overrules_it(folder: Path) -> None:
    write(folder, "k = 0")
    with pytest.raises(ConfigError, match="k is 0"):
        load_settings(environ={"LSR_K": "4"}, folder=folder)


def test_a_truth_is_not_a_number() -> None:
    with pytest.raises(ConfigError, match="LSR_K"):
        load_settings(environ={"LSR_K": "true"})
