from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest

from lsr import cli_search
from lsr.index import planner


def test_a_hit_shows_rank_score_id_title_snippet_and_terms(cli: Any, animals: Path) -> None:
    found = cli("search", animals, "why", "do", "cats", "purr?", "-k", 1)
    head, snippet, matched = found.out.splitlines()
    rank, score, identity, title = head.split()
    assert (rank, identity, title) == ("1", "a", "Cats")
    assert float(score) > 1
    assert snippet.strip() == "Cats purr when they are happy."
    assert matched.strip().startswith("matched: cats ")
    assert "\x1b" not in found.out


def test_matched_words_are_bold_on_a_terminal(
    cli: Any, animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_search, "is_lively", lambda stream: True)
    found = cli("search", animals, "cats", "-k", 1)
    assert "\x1b[1mCats\x1b[22m purr when" in found.out


def test_json_says_the_same_and_more(cli: Any, animals: Path) -> None:
    found = cli("search", animals, "cats", "--json").json()
    assert found["query"] == "cats"
    assert [hit["id"] for hit in found["hits"]][:2] == ["a", "c"]
    best = found["hits"][0]
    assert best["rank"] == 1 and best["fields"] == {"year": 2020}
    start, end = best["highlights"][0]
    assert best["snippet"][start:end] == "Cats"
    assert math.isclose(sum(term["product"] for term in best["terms"]), best["score"], rel_tol=1e-5)


def test_every_way_finds_the_same_in_a_small_index(cli: Any, animals: Path) -> None:
    best = cli("search", animals, "cats", "--json").json()["hits"]
    for path in get_args(cli_search.Way):
        assert cli("search", animals, "cats", "--json", "--path", path).json()["hits"] == best
    assert get_args(cli_search.Way) == get_args(planner.Path) == planner.PATHS


def test_a_search_for_neighbours_or_for_the_best_takes_no_other_way(
    cli: Any, animals: Path
) -> None:
    for asked in (("--like", "a", "--path", "exact"), ("cats", "--exact", "--path", "blocks")):
        found = cli("search", animals, *asked)
        assert found.code == 2 and "path" in found.err


def test_filters_and_fields(cli: Any, animals: Path) -> None:
    found = cli("search", animals, "cats", "--filter", "year >= 2021", "--fields", "year")
    assert "  c" in found.out and "  a  " not in found.out
    assert "year: 2022" in found.out


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("--filter", "yaer > 3", "yaer"),
        ("--filter", "year >", "year"),
        ("--fields", "yaer", "the fields are year"),
    ],
)
def test_a_field_that_is_not_there_is_named_with_code_2(
    cli: Any, animals: Path, option: str, value: str, part: str
) -> None:
    found = cli("search", animals, "cats", option, value)
    assert found.code == 2
    assert part in found.err


def test_no_answer_is_no_failure(cli: Any, animals: Path) -> None:
    found = cli("search", animals, "cats", "--filter", "year > 3000")
    assert (found.code, found.out, found.err) == (0, "", "no document matches\n")


def test_a_vector_can_be_the_query(cli: Any, animals: Path) -> None:
    by_token = cli("search", animals, '{"cats": 2}', "--vector", "--json").json()["hits"]
    term = next(
        one["term"]
        for one in cli("encode", "cats", "--json").json()["terms"]
        if one["token"] == "cats"
    )
    by_term = cli("search", animals, json.dumps({term: 2}), "--vector", "--json").json()["hits"]
    assert [hit["score"] for hit in by_token] == [hit["score"] for hit in by_term] != []


@pytest.mark.parametrize("vector", ["cats", "[1]", '{"cats": "x"}', '{"cats": -1}', '{"qzqz": 1}'])
def test_what_is_no_vector_is_refused_with_code_4(cli: Any, animals: Path, vector: str) -> None:
    found = cli("search", animals, vector, "--vector")
    assert found.code == 4
    assert found.err.startswith("error: ")


def test_many_queries_make_a_run(cli: Any, animals: Path, tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("q1\tcats\nq2\tdogs\n")
    done = cli("search", animals, "--queries", "q.tsv", "--run", "out.run", "-k", 2, "--tag", "t")
    assert (done.code, done.out) == (0, "")
    lines = [line.split() for line in (tmp_path / "out.run").read_text().splitlines()]
    assert [(q, d, r, t) for q, _, d, r, _, t in lines if r == "1"] == [
        ("q1", "a", "1", "t"),
        ("q2", "b", "1", "t"),
    ]
    assert cli("search", animals, "--queries", "q.tsv", "--run", "-", "-q").out.count("\n") >= 2
    answers = cli("search", animals, "--queries", "q.tsv").out.splitlines()
    assert [json.loads(line)["hits"][0]["id"] for line in answers] == ["a", "b"]


def test_a_run_that_fails_leaves_no_file(cli: Any, animals: Path, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"_id": "q 1", "text": "cats"}\n')
    assert cli("search", animals, "--queries", "q.jsonl", "--run", "out.run").code == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q.jsonl"]
    nowhere = cli("search", animals, "--queries", "q.jsonl", "--run", "none/out.run")
    assert nowhere.code == 1 and "error: none/out.run: cannot be written" in nowhere.err


def test_explain_shows_products_that_sum_to_the_score(cli: Any, animals: Path) -> None:
    found = cli("explain", animals, "cats", "a", "--json").json()
    total = sum(term["query_weight"] * term["document_weight"] for term in found["terms"])
    assert math.isclose(total, found["score"], rel_tol=1e-5)
    searched = cli("search", animals, "cats", "--json").json()["hits"][0]["score"]
    assert math.isclose(found["score"], searched, rel_tol=1e-6)
    lines = cli("explain", animals, "cats", "a").out.splitlines()
    assert lines[0].split() == ["token", "query", "document", "product"]
    assert lines[-1].startswith(f"score {found['score']:.4f} = the sum of ")


def test_explain_of_an_unknown_document_fails(cli: Any, animals: Path) -> None:
    found = cli("explain", animals, "cats", "zz")
    assert (found.code, found.out) == (1, "")
    assert "no document 'zz'" in found.err
