"""evaluate: one small dataset end to end, and the report that is made of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import eval_cases
import numpy as np
import pytest

import lsr.eval.bm25_peer
from lsr.errors import ConfigError
from lsr.eval.averages import average_name, averages
from lsr.eval.datasets import load_dataset
from lsr.eval.experiment import evaluate
from lsr.eval.references import BEIR_18
from lsr.eval.report import to_html, to_json
from lsr.eval.results import DatasetResult, Report, load, save
from lsr.eval.run_files import measure_files
from lsr.eval.speed import measure_shape
from lsr.eval.systems import Lists, Ranking, SparseSystem, recall_against

RECALLS = (0.9,)
MEASURES = ("nDCG@10", "R@100", "AP", "Judged@10")
has_bm25 = lsr.eval.bm25_peer.missing() is None


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return eval_cases.write_dataset(tmp_path_factory.mktemp("data") / "toy", queries=8)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out") / "report"


@pytest.fixture(scope="module")
def report(toy: Path, out: Path) -> Report:
    other = eval_cases.write_dataset(out.parent / "other", documents=20, queries=5, seed=2)
    return evaluate(
        [str(toy), str(other)], measures=MEASURES, recalls=RECALLS, depth=20, resamples=500, out=out
    )


@pytest.fixture(scope="module")
def result(report: Report) -> DatasetResult:
    return report.datasets[0]


def test_the_systems_stand_beside_each_other(result: DatasetResult) -> None:
    names = [one.name for one in result.systems]
    assert names == ["BM25", "sparse exact", "sparse ~0.9"]
    assert result.baseline == "BM25" and not result.skipped
    assert result.system("BM25").settings["analyzer"] == "english"
    shape = result.system("BM25").shape
    assert shape is not None and shape.document_terms > 1
    assert result.system("sparse exact").means["nDCG@10"] > 0.5


def test_values_are_those_of_the_saved_run(toy: Path, out: Path, result: DatasetResult) -> None:
    for system in result.systems:
        ([saved], _) = measure_files([str(out / str(system.run))], str(toy), MEASURES)
        assert saved.means == pytest.approx(system.means, abs=1e-12)
        for measure in MEASURES:
            assert saved.per_query[measure] == pytest.approx(system.per_query[measure])


def test_exact_runs_are_the_true_ranking(toy: Path, out: Path, result: DatasetResult) -> None:
    """Brute force over the vectors of texts, encoded as the index does."""
    from lsr.encoder import load_encoder
    from lsr.eval.runs import read_run

    encoder = load_encoder()
    lines = [json.loads(line) for line in (toy / "corpus.jsonl").read_text().splitlines()]
    documents = encoder.encode_documents([f"{one['title']} {one['text']}" for one in lines])
    run = read_run(out / str(result.system("sparse exact").run))
    for query, text in load_dataset(str(toy)).queries.items():
        asked = encoder.encode_queries([text])[0]
        weights = np.zeros(encoder.vocab_size, np.float32)
        weights[asked.terms] = asked.weights
        scores = {
            line["_id"]: float(weights[documents[at].terms] @ documents[at].weights)
            for at, line in enumerate(lines)
        }
        best = sorted((one for one in scores if scores[one] > 0), key=lambda one: -scores[one])
        assert [scores[one] for one in run[query]] == pytest.approx(
            [scores[one] for one in best[:20]], rel=1e-3
        )


def test_approximate_search_is_held_against_the_exact_one(result: DatasetResult) -> None:
    for system in result.systems:
        assert (system.loss is not None) == ("~" in system.name)
        if system.loss is not None:
            assert system.loss.against == "sparse exact" and 0.5 < system.loss.recall <= 1
            assert "forced" in system.settings
    assert result.curve[-1].recall == 1.0 and result.curve[-1].label == "exact"


def test_speed_and_shape_are_measured(result: DatasetResult) -> None:
    for system in result.systems:
        assert system.speed is not None and system.shape is not None
        assert 0 < system.speed.search_p50 <= system.speed.p50 <= system.speed.p95
        assert system.speed.p95 <= system.speed.p99 and system.speed.n_queries == 8
        assert (system.speed.bytes or 0) > 0 and (system.speed.build_seconds or 0) > 0
        lengths = [length for _, length in system.shape.lengths]
        assert lengths == sorted(lengths, reverse=True)
        assert system.shape.flops <= system.shape.query_terms


def test_flops_are_the_terms_that_a_pair_shares() -> None:
    rng = np.random.default_rng(2)
    documents, queries = rng.random((30, 12)) < 0.3, rng.random((7, 12)) < 0.4
    shared = np.mean([(one & other).sum() for one in queries for other in documents])
    shape = measure_shape(Lists(documents.sum(0), queries.sum(0), 30, 7))
    assert shape.flops == pytest.approx(float(shared))
    assert shape.document_terms == pytest.approx(documents.sum() / 30)
    assert shape.n_lists == int((documents.sum(0) > 0).sum())


def test_recall_counts_ties_with_the_last() -> None:
    truth = Ranking(["a", "b", "c"], [3.0, 2.0, 2.0])
    assert recall_against(truth, Ranking(["a", "c"], [3.0, 2.0]), 2) == 1.0
    assert recall_against(Ranking([], []), Ranking([], []), 10) == 1.0


def test_averages_and_their_test(report: Report) -> None:
    found = {one.system: one for one in averages(report.datasets, "AP", resamples=500, seed=1)}
    first, second = report.datasets
    exact = found["sparse exact"]
    means = [one.system("sparse exact").means["AP"] for one in (first, second)]
    assert exact.value == pytest.approx(sum(means) / 2)
    if has_bm25:
        base = [one.system("BM25").means["AP"] for one in (first, second)]
        assert exact.difference == pytest.approx(exact.value - sum(base) / 2)
        assert exact.p is not None and exact.p_holm is not None and exact.p <= exact.p_holm <= 1
        assert found["BM25"].p is None
    assert average_name(report.datasets) == "mean of 2"


def test_the_forums_of_cqadupstack_count_as_one_dataset(report: Report) -> None:
    first, second = report.datasets
    forums = [
        replace(first, name="cqadupstack/android"),
        replace(second, name="irds:beir/cqadupstack/gis"),
    ]
    datasets = [*forums, replace(second, name="scifact")]
    found = {one.system: one for one in averages(datasets, "AP", resamples=100, seed=1)}
    one, two = (result.system("sparse exact").means["AP"] for result in (first, second))
    exact = found["sparse exact"]
    assert exact.value == pytest.approx(((one + two) / 2 + two) / 2)
    if has_bm25:
        assert exact.difference == pytest.approx(exact.value - found["BM25"].value)
    assert average_name(datasets) == "mean of 2"
    beir = [replace(first, name=f"irds:beir/{name}/test") for name in BEIR_18]
    assert average_name(beir) == "mean of 18"
    forum = [replace(first, name=f"cqadupstack/{at}") for at in range(12)]
    assert average_name([*beir[:13], *beir[14:], *forum]) == "BEIR-18"
    assert average_name(beir[:13]) == "BEIR-13"


class Page(HTMLParser):
    """What a page refers to and holds; a wrongly nested element is an error."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.ids: list[str] = []
        self.counts: dict[str, int] = {}
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "xlink:href", "action", "data", "srcset"):
                self.refers.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(out: Path) -> None:
    text = (out / "report.html").read_text("utf-8")
    page = Page(text)
    assert [one for one in page.refers if not one.startswith(("#", "data:"))] == []
    assert len(page.ids) == len(set(page.ids))
    assert {one.removeprefix("#") for one in page.refers if one[0] == "#"} <= set(page.ids)
    assert re.findall(r"url\((?!#)|@import|<script", text) == []
    namespaces = set(re.findall(r'https?://[^\s"<]+', text))
    assert all(one.startswith("http://www.w3.org/") for one in namespaces), namespaces


def test_the_page_has_the_figures_tables_and_provenance(out: Path, result: DatasetResult) -> None:
    text = (out / "report.html").read_text("utf-8")
    n_figures = 2 * (4 if has_bm25 else 3) + 1
    assert Page(text).counts["svg"] == n_figures
    for label in ("Recall against latency", "nDCG@10 against FLOPS", "inverted lists"):
        assert label in text
    if has_bm25:
        assert "sparse exact against BM25" in text
    assert result.hash in text and str(result.encoder["fingerprint"]) in text
    for system in result.systems:
        assert f"{system.means['nDCG@10']:.4f}" in text
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert 'name="viewport"' in text


def test_texts_of_a_dataset_cannot_become_markup(report: Report) -> None:
    evil = replace(report.datasets[0], name="<script>alert(1)</script>", notes=("<b>x</b>",))
    text = to_html(replace(report, datasets=(evil,)))
    assert "<script" not in text and "&lt;script&gt;" in text and "<b>x</b>" not in text


def test_the_other_outputs(out: Path, result: DatasetResult) -> None:
    markdown = (out / "report.md").read_text("utf-8")
    assert f"| sparse exact | {result.system('sparse exact').means['nDCG@10']:.4f}"[:14] in markdown
    found = json.loads((out / "report.json").read_text())
    assert found["datasets"][0]["systems"][-1]["per_query"]["AP"].keys() >= {"q0", "q7"}
    assert found["provenance"]["packages"]["ir-measures"]
    rows = (out / "queries" / "toy-test.csv").read_text().splitlines()
    assert rows[0] == "query,system,measure,value"
    assert len(rows) == 1 + len(result.systems) * len(MEASURES) * 8


def test_mtebs_files_have_its_shape(out: Path, result: DatasetResult) -> None:
    files = sorted((out / "mteb").glob("*/*/toy.json"))
    assert len(files) == len(result.systems)
    [file] = [one for one in files if "exact" in one.parent.parent.name]
    task = json.loads(file.read_text())
    assert set(task) == {"task_name", "dataset_revision", "mteb_version", "evaluation_time",
                         "kg_co2_emissions", "scores"}  # fmt: skip
    [scores] = task["scores"]["test"]
    assert scores["main_score"] == scores["ndcg_at_10"]
    assert scores["ndcg_at_10"] == result.system("sparse exact").means["nDCG@10"]
    assert {"recall_at_100", "map", "hf_subset", "languages"} <= set(scores)
    meta = json.loads((file.parent / "model_meta.json").read_text())
    assert meta["revision"] == file.parent.name and meta["license"] == "mit"


def test_a_result_comes_back_from_its_file(tmp_path: Path, result: DatasetResult) -> None:
    save(result, tmp_path / "result.json")
    assert load(tmp_path / "result.json") == result


def test_a_finished_dataset_is_taken_over_and_indexes_are_found_again(
    toy: Path, out: Path, result: DatasetResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsr.index.build.build", lambda *_, **__: pytest.fail("built again"))
    again = evaluate(
        str(toy),
        measures=MEASURES,
        recalls=RECALLS,
        depth=20,
        resamples=500,
        work=out / "work",
        resume=True,
    )
    assert again.datasets[0] == result
    [fresh] = evaluate(
        str(toy), measures=["AP"], depth=20, work=out / "work", systems=["sparse"], recalls=[]
    ).datasets
    assert fresh.system("sparse exact").means["AP"] == result.system("sparse exact").means["AP"]


def test_a_dataset_that_fails_leaves_the_others(toy: Path, tmp_path: Path) -> None:
    broken = eval_cases.write_dataset(tmp_path / "broken")
    with (broken / "corpus.jsonl").open("a") as corpus:
        corpus.write("{oops\n")
    found = evaluate(
        [str(broken), str(toy)], measures=["AP"], systems=["sparse"], recalls=[], out=tmp_path / "o"
    )
    assert [one.name for one in found.datasets] == ["toy"]
    assert "corpus.jsonl:41: malformed JSON" in found.failed[str(broken)]
    assert "malformed JSON" in (tmp_path / "o" / "report.html").read_text()


@pytest.mark.skipif(not has_bm25, reason="bm25s is not installed")
def test_our_bm25_stands_beside_bm25s(toy: Path, tmp_path: Path) -> None:
    found = evaluate(
        str(toy), measures=["AP"], systems=["bm25", "bm25s"], recalls=[], out=tmp_path
    ).datasets[0]
    ours, theirs = found.system("BM25"), found.system("BM25 (bm25s)")
    # Their words have two letters at least, and stop words are the same: here all is the same.
    assert ours.means["AP"] == pytest.approx(theirs.means["AP"], abs=0.01)
    assert found.encoder == {}


def test_without_bm25s_the_report_says_why(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsr.eval.bm25_peer.missing", lambda: "bm25s is not installed")
    found = evaluate(str(toy), measures=["AP"], systems=["bm25", "bm25s"], recalls=[], out=tmp_path)
    assert found.datasets[0].skipped == {"BM25 (bm25s)": "bm25s is not installed"}
    assert "bm25s is not installed" in (tmp_path / "report.md").read_text()
    [failed] = evaluate(str(toy), systems=["bm25s"]).failed.values()
    assert "no system can be run" in failed


def test_an_index_of_ones_own(toy: Path, tmp_path: Path) -> None:
    from lsr import Index

    with Index.create(tmp_path / "index") as index:
        index.add([{"_id": f"d{at}", "text": "cat dog"} for at in range(40)])
    found = evaluate(
        str(toy), index=tmp_path / "index", systems=["sparse"], recalls=[], measures=["R@100"]
    )
    assert found.datasets[0].system("sparse exact").speed.build_seconds is None  # type: ignore[union-attr]
    with Index.create(tmp_path / "wrong") as index:
        index.add([{"_id": "x", "text": "cat"}])
    [failed] = evaluate(str(toy), index=tmp_path / "wrong").failed.values()
    assert "none of the 17 judged documents of toy is in" in failed


def test_identical_hits_are_dropped_and_both_values_told(tmp_path: Path) -> None:
    folder = tmp_path / "arguments"
    (folder / "qrels").mkdir(parents=True)
    texts = ["cats purr and sleep", "cats purr and play", "dogs bark at cats", "dogs bark a lot"]
    rows = [json.dumps({"_id": str(at), "text": text}) + "\n" for at, text in enumerate(texts)]
    for name in ("corpus", "queries"):
        (folder / f"{name}.jsonl").write_text("".join(rows))
    (folder / "qrels" / "test.tsv").write_text("0\t1\t1\n1\t0\t1\n2\t3\t1\n3\t2\t1\n")
    [found] = evaluate(str(folder), systems=["sparse"], recalls=[], measures=["RR@10"]).datasets
    system = found.system("sparse exact")
    assert system.means["RR@10"] == 1.0
    assert any("RR@10 is 1.0000 without and 0.5000 with them" in note for note in system.notes)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"systems": ["colbert"]}, "known are bm25, sparse"),
        ({"recalls": [1.5]}, "recall is 1.5"),
        ({"depth": 5}, "depth is 5"),
        ({"identical": "maybe"}, "identical is 'maybe'"),
        ({"measures": ["foo"]}, "'foo' is not a measure"),
    ],
)
def test_settings_that_cannot_be_used(toy: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        evaluate(str(toy), **options)  # type: ignore[arg-type]


def test_a_baseline_that_is_no_system(toy: Path) -> None:
    [why] = evaluate(str(toy), systems=["sparse"], recalls=[], baseline="dense").failed.values()
    assert "'dense' is not among the systems: sparse exact" in why


def test_what_is_written_twice_is_the_same(report: Report, out: Path) -> None:
    assert to_html(report) == (out / "report.html").read_text("utf-8")
    assert to_json(report) == (out / "report.json").read_text("utf-8")


def test_a_large_index_is_asked_for_a_recall(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lsr import Index

    asked: dict[str, object] = {}

    class Large:
        def __init__(self, index: Index) -> None:
            self._index = index

        def info(self) -> object:
            return replace(self._index.info(), n_rows=50_000)

        def vector(self, query: str) -> str:
            return query

        def search(self, query: str, **options: object) -> object:
            asked.update(options)
            raise KeyboardInterrupt

    path = toy.parent / "index"
    with Index.create(path) as index:
        index.add([{"_id": "a", "text": "cat"}])
    system = SparseSystem(Large(index), recall=0.95)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        system.search("cat", 10)
    assert (asked["recall"], asked["knobs"], asked["exact"]) == (0.95, None, False)
    assert system.settings == {"recall": 0.95}
