from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_encoder import ToyEncoder

from lsr import Document, Index, SparseVectors
from lsr.errors import ConfigError, DataError
from lsr.index.build import BuildProgress, BuildSettings, build
from lsr.index.source import Batch, CorpusSource, VectorSource
from lsr.rejects import Rejects
from lsr.vector_files import write_vectors

WORDS = ["cats", "purr", "dogs", "bark", "cows", "moo", "birds", "sing", "fish", "swim"]


def write_corpus(path: Path, n: int, *, bad: int | None = None, year: object = 1) -> Path:
    lines = [
        json.dumps({"_id": f"d{i}", "text": f"{WORDS[i % 10]} {WORDS[i % 7]}", "year": i})
        for i in range(n)
    ]
    if bad is not None:
        lines[bad] = '{"_id": "broken", "text": '
    path.write_text("\n".join(lines) + "\n")
    return path


def contents(index: Index) -> list[Document]:
    return list(index)


def arrays(index: Index) -> dict[str, bytes]:
    files = (file for file in (index.path / "segments").rglob("*") if file.is_file())
    return {file.name: file.read_bytes() for file in files}


def small(**more: object) -> BuildSettings:
    return BuildSettings(batch=10, checkpoint=20, **more)  # type: ignore[arg-type]


def test_a_build_commits_once_and_reports(tmp_path: Path, encoder: ToyEncoder) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 55)
    index = Index.create(tmp_path / "i", encoder=encoder)
    seen: list[BuildProgress] = []
    report = build(
        index, [CorpusSource(str(corpus))], small(), rejects=Rejects("stop"), progress=seen.append
    )
    assert (report.documents, report.rejected, report.generation) == (55, 0, 1)
    assert report.peak_memory > 10_000_000
    assert seen[-1].documents == 55
    assert len(index) == 55
    assert index.info().n_segments == 1
    assert not (index.path / "build.json").exists()


def test_a_bad_line_stops_the_build_and_resume_goes_on_after_it_is_mended(
    tmp_path: Path, encoder: ToyEncoder
) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 55, bad=47)
    index = Index.create(tmp_path / "i", encoder=encoder)
    source = [CorpusSource(str(corpus))]
    with pytest.raises(DataError, match=r"c\.jsonl:48: "):
        build(index, source, small(), rejects=Rejects("stop"))
    assert len(Index.open(tmp_path / "i", encoder=encoder)) == 0
    with pytest.raises(ConfigError, match="unfinished build of 40 documents"):
        build(index, source, small(), rejects=Rejects("stop"))
    with pytest.raises(ConfigError, match="unfinished build"):
        index.add([Document("new", text="cats")])
    write_corpus(corpus, 55)
    encoder.encoded = 0
    report = build(index, source, small(resume=True), rejects=Rejects("stop"))
    assert (report.documents, report.resumed_documents, encoder.encoded) == (55, 40, 15)
    fresh = Index.create(tmp_path / "fresh", encoder=encoder)
    build(fresh, source, small(), rejects=Rejects("stop"))
    assert contents(index) == contents(fresh)
    assert arrays(index) == arrays(fresh)


def test_restart_throws_the_unfinished_build_away(tmp_path: Path, encoder: ToyEncoder) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 55, bad=47)
    index = Index.create(tmp_path / "i", encoder=encoder)
    source = [CorpusSource(str(corpus))]
    with pytest.raises(DataError):
        build(index, source, small(), rejects=Rejects("stop"))
    report = build(index, source, small(restart=True), rejects=Rejects("skip"))
    assert (report.documents, report.resumed_documents, report.rejected) == (54, 0, 1)


def test_resume_wants_the_same_sources_and_may_find_nothing_to_resume(
    tmp_path: Path, encoder: ToyEncoder
) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 55, bad=47)
    other = write_corpus(tmp_path / "other.jsonl", 5)
    index = Index.create(tmp_path / "i", encoder=encoder)
    with pytest.raises(DataError):
        build(index, [CorpusSource(str(corpus))], small(), rejects=Rejects("stop"))
    with pytest.raises(ConfigError, match="same sources"):
        try:
            build(index, [CorpusSource(str(other))], small(resume=True), rejects=Rejects("stop"))
        except ConfigError as error:
            raise ConfigError(str(error.hint)) from error
    plain = Index.create(tmp_path / "plain", encoder=encoder)
    report = build(plain, [CorpusSource(str(other))], small(resume=True), rejects=Rejects("stop"))
    assert report.documents == 5


def test_resume_wants_vectors_read_at_the_same_scale_and_with_the_same_vocabulary(
    tmp_path: Path,
) -> None:
    lines = [json.dumps({"id": f"d{i}", "vector": {"cat": 40 + i}}) for i in range(45)]
    path = tmp_path / "docs.jsonl"
    path.write_text("\n".join([*lines, '{"id": "broken"}']) + "\n")
    index = Index.create(tmp_path / "i", encoder=None, vocab_size=5)

    def run(scale: float, vocabulary: dict[str, int], *, resume: bool = True) -> None:
        source = VectorSource(str(path), 5, vocabulary, scale)
        build(index, [source], small(resume=resume), rejects=Rejects("stop"))

    with pytest.raises(DataError):
        run(100.0, {"cat": 1}, resume=False)
    with pytest.raises(ConfigError, match=r"read .*docs.jsonl with scale 100.0.* this is with sc"):
        run(10.0, {"cat": 1})
    with pytest.raises(ConfigError, match="vocabulary 1 tokens"):
        run(100.0, {"cat": 2})
    path.write_text("\n".join(lines) + "\n")
    run(100.0, {"cat": 1})
    assert len(index) == 45


def test_skipped_lines_are_counted_written_and_not_counted_twice_on_resume(
    tmp_path: Path, encoder: ToyEncoder
) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 55, bad=3)
    lines = corpus.read_text().splitlines()
    lines[5] = lines[4]
    lines[30] = json.dumps({"_id": "d30", "text": "cats", "year": "never"})
    corpus.write_text("\n".join(lines) + "\n")
    rejected = tmp_path / "rejected.jsonl"
    index = Index.create(tmp_path / "i", encoder=encoder)

    class Stops(CorpusSource):
        def batches(self, *, skip: int, size: int, rejects: Rejects) -> Iterator[Batch]:
            for number, batch in enumerate(super().batches(skip=skip, size=size, rejects=rejects)):
                if number == 4 and skip == 0:
                    raise KeyboardInterrupt
                yield batch

    with Rejects("skip", rejected) as rejects, pytest.raises(KeyboardInterrupt):
        build(index, [Stops(str(corpus))], small(), rejects=rejects)
    with Rejects("skip", rejected, append=True) as rejects:
        report = build(index, [Stops(str(corpus))], small(resume=True), rejects=rejects)
    assert report.documents == 52 == len(index)
    reasons = {json.loads(line)["line"] for line in rejected.read_text().splitlines()}
    assert reasons == {4, 6, 31}


def test_duplicates_are_found_across_batches_and_checkpoints(
    tmp_path: Path, encoder: ToyEncoder
) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", 55)
    lines = corpus.read_text().splitlines()
    corpus.write_text("\n".join([*lines, lines[0]]) + "\n")
    index = Index.create(tmp_path / "i", encoder=encoder)
    with pytest.raises(DataError, match=r"c\.jsonl:56: duplicate id 'd0'"):
        build(index, [CorpusSource(str(corpus))], small(), rejects=Rejects("stop"))
    report = build(
        index,
        [CorpusSource(str(corpus))],
        small(action="upsert", restart=True),
        rejects=Rejects("stop"),
    )
    assert (report.documents, len(index)) == (56, 55)


def test_several_sources_and_a_second_build_add_up(tmp_path: Path, encoder: ToyEncoder) -> None:
    first = write_corpus(tmp_path / "1.jsonl", 25)
    second = tmp_path / "2.jsonl"
    second.write_text('{"_id": "x", "text": "cats"}\n{"_id": "y", "text": "fish"}\n')
    index = Index.create(tmp_path / "i", encoder=encoder)
    sources = [CorpusSource(str(first)), CorpusSource(str(second))]
    assert build(index, sources, small(), rejects=Rejects("stop")).documents == 27
    third = tmp_path / "3.jsonl"
    third.write_text('{"_id": "x", "text": "moo"}\n')
    build(index, [CorpusSource(str(third))], small(action="upsert"), rejects=Rejects("stop"))
    assert len(index) == 27
    document = index.get("x")
    assert document is not None
    assert document.text == "moo"


def test_precomputed_vectors_are_a_source_too(tmp_path: Path) -> None:
    vectors = SparseVectors.from_dicts([{i % 5: 1.0 + i} for i in range(30)], vocab_size=5)
    path = tmp_path / "v.parquet"
    write_vectors(path, "parquet", [([f"d{i}" for i in range(30)], vectors)])
    index = Index.create(tmp_path / "i", encoder=None, vocab_size=5)
    report = build(index, [VectorSource(str(path), 5)], small(), rejects=Rejects("stop"))
    assert report.documents == 30
    assert [hit.id for hit in index.search({0: 1.0}, k=2)] == ["d25", "d20"]


def test_a_budget_below_what_the_model_takes_is_refused() -> None:
    with pytest.raises(ConfigError, match="too small"):
        BuildSettings(memory=100_000_000).window_postings()
    assert BuildSettings(memory=10**9).window_postings() < BuildSettings().window_postings()


def test_the_dense_model_counts_in_the_budget() -> None:
    settings = BuildSettings(memory=10**9)
    assert settings.window_postings(200_000_000) < settings.window_postings()
    assert settings.free_memory() == 400_000_000
    # More than the budget has room for: as little as can be, and what that comes to is told.
    assert settings.window_postings(10**9) == 500_000
    assert settings.least_memory(10**9) > 10**9 > settings.least_memory()
