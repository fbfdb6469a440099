"""Judgements: which document answers which query, and how well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lsr.errors import ConfigError, DataError
from lsr.text_rows import rows

#: Query id -> document id -> grade; above 0 is relevant.
Grades = dict[str, dict[str, int]]

_SHAPES = "`query 0 document grade` (TREC) or `query document grade` (BEIR, with or without head)"


class Qrels(NamedTuple):
    """Judgements and what a reader should know about them, one sentence each."""

    grades: Grades
    notes: tuple[str, ...] = ()

    @property
    def n_judgements(self) -> int:
        """The number of judged pairs."""
        return sum(map(len, self.grades.values()))


class _Judgement(NamedTuple):
    where: str
    query: str
    document: str
    grade: int


def read_qrels(source: str | Path) -> Qrels:
    """Return the judgements of a TREC or BEIR file, a BEIR folder's test split, or `irds:<id>`.

    The same pair with the same grade twice is counted in the notes; with two grades it is a
    DataError that names the line, as is a line of any other shape. Negative grades (TREC's spam)
    are kept and count as not relevant.

    >>> _ = Path("q.txt").write_text("q1 0 d1 1\\n")
    >>> read_qrels("q.txt").grades
    {'q1': {'d1': 1}}
    """
    text = str(source)
    if text.startswith("irds:"):
        return collect(_of_ir_datasets(text.removeprefix("irds:")), text)
    path = Path(source)
    if path.is_dir():
        path = split_file(path, None)
    return collect(_of_file(path), str(path))


def split_file(folder: Path, split: str | None) -> Path:
    """Return the file of judgements of a BEIR folder: of `split`, else of `test`, else the one."""
    found = {
        path.name.split(".")[0]: path
        for path in sorted((folder / "qrels").glob("*"))
        if ".tsv" in path.suffixes or ".txt" in path.suffixes
    }
    if not found:
        raise ConfigError(
            f"{folder} holds no judgements: there is no qrels/*.tsv",
            hint="give a BEIR folder, or a corpus with --queries and --qrels",
        )
    wanted = split or ("test" if "test" in found or len(found) > 1 else next(iter(found)))
    if wanted not in found:
        raise ConfigError(
            f"{folder} has no split {wanted!r}", hint=f"--split {'|'.join(sorted(found))}"
        )
    return found[wanted]


def collect(judgements: Iterator[_Judgement], source: str) -> Qrels:
    """Return the judgements in one piece, repeated ones counted, contradictions refused."""
    grades: Grades = {}
    twice = 0
    for where, query, document, grade in judgements:
        of_query = grades.setdefault(query, {})
        if document not in of_query:
            of_query[document] = grade
        elif of_query[document] == grade:
            twice += 1
        else:
            raise DataError(
                f"{where}: query {query!r} and document {document!r} are judged {grade}, "
                f"but {of_query[document]} before; a pair has one grade"
            )
    if not grades:
        raise DataError(f"{source} holds no judgements; lines of {_SHAPES} are expected")
    notes = [f"{twice:,} judgement(s) come twice, with the same grade"] if twice else []
    without = sum(all(grade <= 0 for grade in of.values()) for of in grades.values())
    if without:
        notes.append(
            f"{without:,} of {len(grades):,} judged queries have no relevant document; "
            "they score 0 in every system"
        )
    return Qrels(grades, tuple(notes))


def _of_file(path: Path) -> Iterator[_Judgement]:
    for at, (number, columns) in enumerate(rows(path, "qrels")):
        where = f"{path}:{number}"
        if at == 0 and len(columns) == 3 and _is_head(columns):
            continue
        if len(columns) not in (3, 4):
            raise DataError(f"{where}: {len(columns)} columns; expected {_SHAPES}")
        query, document, grade = columns[0], columns[-2], columns[-1]
        if not (query and document):
            raise DataError(f"{where}: an id is empty; expected {_SHAPES}")
        yield _Judgement(where, query, document, _grade(grade, where))


def _is_head(columns: Sequence[str]) -> bool:
    return not _is_number(columns[-1])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _grade(text: str, where: str) -> int:
    try:
        value = float(text)
        if value == int(value):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise DataError(f"{where}: the grade is {text!r}; a whole number is expected")


def _of_ir_datasets(identity: str) -> Iterator[_Judgement]:
    from lsr.corpus_irds import IrDataset, downloads_explained

    # Says what is wrong with the id, and keeps ir_datasets off the network when we are offline.
    IrDataset(identity).count()
    import ir_datasets

    dataset = ir_datasets.load(identity)
    if not dataset.has_qrels():
        raise ConfigError(
            f"irds:{identity}: this dataset has no judgements",
            hint=f"give one of its splits, such as irds:{identity}/test",
        )
    with downloads_explained(f"irds:{identity}"):
        for number, one in enumerate(dataset.qrels_iter(), 1):
            where = f"irds:{identity}, judgement {number}"
            yield _Judgement(where, one.query_id, one.doc_id, int(one.relevance))
