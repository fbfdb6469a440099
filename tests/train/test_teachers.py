from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from train_cases import NEGATIVES, POSITIVES, QUERIES, write_tokenizer

import lsr.train.teacher_cache as teacher_cache
from lsr.encoder import load_encoder
from lsr.errors import ConfigError, DataError, ModelError, StorageError
from lsr.train.prepared import Prepared, prepare
from lsr.train.settings_run import DataSettings, SourceSettings, Teacher, TeacherSettings
from lsr.train.teacher_cache import ScoreCache, pair_keys, teacher_scores
from lsr.train.teachers import SparseTeacher, load_teacher


@pytest.fixture
def data(tmp_path: Path) -> Prepared:
    rows = [
        {"query": query, "docs": [positive, negative], "scores": [2.0, -1.0]}
        for query, positive, negative in zip(QUERIES, POSITIVES, NEGATIVES, strict=True)
    ]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    settings = DataSettings(sources=[SourceSettings(path=str(path))])
    return prepare(settings, tmp_path / "prepared", score_fields=["scores"])


def sparse(masked: Path) -> TeacherSettings:
    return TeacherSettings(models=[Teacher(kind="sparse", model=str(masked))])


def cross_encoder(folder: Path, labels: int = 1) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=write_tokenizer(folder), hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, max_position_embeddings=32,
        num_labels=labels, initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_scores_are_the_inner_products_of_the_teachers_vectors(
    data: Prepared, masked: Path, tmp_path: Path
) -> None:
    found = teacher_scores(data, sparse(masked), tmp_path / "cache", threads=1)
    encoder = load_encoder(masked, threads=1)
    queries = encoder.encode_queries(QUERIES).to_scipy()
    documents = encoder.encode_documents(list(data.document_texts())).to_scipy()
    every = np.asarray((queries @ documents.T).todense())
    expected = [every[at // 2, number] for at, number in enumerate(data.documents)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_scores_are_computed_once_and_go_on_where_they_stopped(
    data: Prepared, masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_cache, "PART", 4)
    asked: list[int] = []
    whole = SparseTeacher.score

    def interrupted(self: SparseTeacher, queries, documents, pairs):  # type: ignore[no-untyped-def]
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(documents))
        return whole(self, queries, documents, pairs)

    monkeypatch.setattr(SparseTeacher, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        teacher_scores(data, sparse(masked), tmp_path / "cache", threads=1)
    monkeypatch.setattr(SparseTeacher, "score", whole)
    [folder] = (tmp_path / "cache").iterdir()
    assert len(ScoreCache(folder)) == 8
    done: list[tuple[int, int]] = []
    found = teacher_scores(
        data, sparse(masked), tmp_path / "cache", threads=1,
        on_progress=lambda name, at, of: done.append((at, of)),
    )  # fmt: skip
    assert done == [(0, 4), (4, 4)]
    monkeypatch.setattr(SparseTeacher, "score", lambda *given: pytest.fail("scored again"))
    again = teacher_scores(data, sparse(masked), tmp_path / "cache", threads=1)
    np.testing.assert_array_equal(found, again)
    fresh = tmp_path / "fresh"
    monkeypatch.setattr(SparseTeacher, "score", whole)
    np.testing.assert_allclose(teacher_scores(data, sparse(masked), fresh), found, rtol=1e-6)


def test_another_length_is_another_teacher(masked: Path) -> None:
    prints = {
        load_teacher(Teacher(kind="sparse", model=str(masked), max_length=length)).fingerprint
        for length in (8, 16)
    }
    assert len(prints) == 2


def test_precomputed_scores_and_models_go_together(
    data: Prepared, masked: Path, tmp_path: Path
) -> None:
    settings = TeacherSettings(
        models=[Teacher(kind="precomputed"), Teacher(kind="sparse", model=str(masked))]
    )
    found = teacher_scores(data, settings, tmp_path / "cache", threads=1)
    assert found.shape == (2, 12)
    assert found[0].tolist() == [2.0, -1.0] * 6


def test_a_cross_encoder_reads_pairs(data: Prepared, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = cross_encoder(tmp_path / "cross")
    settings = TeacherSettings(models=[Teacher(kind="cross", model=str(folder), max_length=32)])
    found = teacher_scores(data, settings, tmp_path / "cache", threads=1)[0]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    pair = tokenizer(QUERIES[2], NEGATIVES[2], return_tensors="pt")
    with torch.inference_mode():
        assert found[5] == pytest.approx(float(model(**pair).logits), rel=1e-4)
    with pytest.raises(ModelError, match="has 3 labels"):
        load_teacher(Teacher(kind="cross", model=str(cross_encoder(tmp_path / "three", 3))))
    with pytest.raises(ModelError, match="there is no model folder"):
        load_teacher(Teacher(kind="cross", model=str(tmp_path / "nowhere")))


def test_a_dense_teacher_scores_by_its_own_similarity(data: Prepared, tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    from lsr.dense_encoder import load_dense_encoder

    folder = tmp_path / "dense"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=write_tokenizer(folder), hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    settings = TeacherSettings(models=[Teacher(kind="dense", model=str(folder), max_length=32)])
    found = teacher_scores(data, settings, tmp_path / "cache", threads=1)[0]
    encoder = load_dense_encoder(str(folder), max_seq_length=32)
    query = encoder.encode_queries([QUERIES[1]])[0]
    document = encoder.encode_documents([POSITIVES[1]])[0]
    if encoder.similarity == "cosine":
        query, document = query / np.linalg.norm(query), document / np.linalg.norm(document)
    assert found[2] == pytest.approx(float(query @ document), rel=1e-4)


def test_a_damaged_file_of_scores_is_named(tmp_path: Path) -> None:
    (tmp_path / "part-00000001.parquet").write_bytes(b"nothing")
    with pytest.raises(StorageError, match="is not a file of scores"):
        ScoreCache(tmp_path)


def test_many_parts_become_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_cache, "_PARTS", 3)
    for number in range(7):
        hashes = np.array([number, number + 100], np.uint64)
        ScoreCache(tmp_path).append(hashes, hashes + np.uint64(1), np.array([number, -1], "f4"))
    assert len(list(tmp_path.glob("*.parquet"))) < 3
    cache = ScoreCache(tmp_path)
    wanted = np.arange(7, dtype=np.uint64)
    assert cache.find(wanted, wanted + np.uint64(1)).tolist() == list(range(7))
    assert np.isnan(cache.find(wanted, wanted)).all()


def test_keys_of_swapped_pairs_differ() -> None:
    left, right = np.array([1, 2], np.uint64), np.array([2, 1], np.uint64)
    keys = pair_keys(left, right)
    assert keys[0] != keys[1]


def test_scores_that_are_not_finite_are_refused(
    data: Prepared, masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: SparseTeacher, queries, documents, pairs):  # type: ignore[no-untyped-def]
        return np.full(len(pairs[0]), np.inf, np.float32)

    monkeypatch.setattr(SparseTeacher, "score", broken)
    with pytest.raises(DataError, match=r"12 score\(s\) are not finite, the first of .*p\.jsonl:1"):
        teacher_scores(data, sparse(masked), tmp_path / "cache", threads=1)


def test_a_teacher_without_a_model_is_a_bad_setting(masked: Path) -> None:
    with pytest.raises(ValueError, match="needs its model"):
        Teacher(kind="dense")
    with pytest.raises(ConfigError, match="no model to load"):
        load_teacher(Teacher(kind="precomputed"))
