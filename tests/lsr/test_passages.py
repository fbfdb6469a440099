from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.errors import ConfigError
from lsr.passages import PassageSettings, count_words, sentences, split
from lsr.types import Span

TEXTS = st.text(
    st.sampled_from(list("ab. !?。漢กิA1\n\t-…”\u00a0é")) | st.characters(exclude_categories=["Cs"]),
    max_size=200,
)
LIMITS = st.tuples(st.integers(1, 12), st.integers(0, 11)).filter(lambda pair: pair[1] < pair[0])


def parts(text: str) -> list[str]:
    return [text[span.start : span.end] for span in sentences(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["One here.", "Two there!", "Three?", "Four…", "Five"],
        ["Dr. No met Mrs. J. R. Smith vs. Prof. Li.", "He left."],
        ["It costs 3.14 dollars, e.g. in the U.S. market, cf. Fig. 3.", "Yes."],
        ["He said “No.”", "(She left.)", "Done."],
        ["Version 2.0 is out.", "Get it at example.org or not."],
        ["Das kostet z.B. fünf Euro.", "Ärger gibt es nicht."],
    ],
)
def test_sentences_end_where_a_reader_ends_them(expected: list[str]) -> None:
    assert parts(" ".join(expected)) == expected


def test_scripts_without_blanks_end_sentences_by_their_own_signs() -> None:
    assert parts("猫が鳴く。犬も「鳴く。」と！そう") == [
        "猫が鳴く。",
        "犬も「鳴く。」",
        "と！",
        "そう",
    ]
    assert parts("पहला वाक्य।दूसरा वाक्य॥") == ["पहला वाक्य।", "दूसरा वाक्य॥"]
    assert parts("هل هذا؟ نعم") == ["هل هذا؟", "نعم"]


def test_blank_lines_and_entries_of_a_list_end_sentences_and_wrapped_lines_do_not() -> None:
    text = "A heading\n\nWrapped\nline\n- one\n- two\n 3. three"
    assert parts(text) == ["A heading", "Wrapped\nline", "- one", "- two", "3. three"]


def test_small_letters_begin_sentences_where_there_are_no_capitals() -> None:
    assert parts("the wing . it lifts. and flies") == ["the wing .", "it lifts.", "and flies"]
    assert parts("The approx. value . it is. Then") == ["The approx. value .", "it is.", "Then"]


@pytest.mark.parametrize(
    "text", ["." * 50_000, " " * 50_000, "\n" * 50_000, ". " * 20_000, '."' * 20_000]
)
def test_long_rows_of_signs_take_no_long_time(text: str) -> None:
    assert all(span.start < span.end for span in split(text))


@given(TEXTS)
def test_sentences_cover_everything_but_blanks(text: str) -> None:
    at = 0
    for span in sentences(text):
        assert not text[at : span.start].strip()
        assert text[span.start : span.end].strip() == text[span.start : span.end] != ""
        at = span.end
    assert not text[at:].strip()


@given(TEXTS, LIMITS)
def test_passages_ascend_cover_everything_but_blanks_and_keep_the_limit(
    text: str, limits: tuple[int, int]
) -> None:
    most, overlap = limits
    spans = split(text, max_tokens=most, overlap=overlap)
    covered = 0
    for before, span in zip([Span(-1, 0), *spans], spans, strict=False):
        assert before.start < span.start < span.end
        assert before.end < span.end
        assert not text[covered : span.start].strip()
        assert text[span.start : span.end].strip() == text[span.start : span.end]
        assert count_words(text[span.start : span.end]) <= most
        assert count_words(text[span.start : before.end]) <= overlap
        covered = span.end
    assert not text[covered:].strip()


@given(TEXTS, LIMITS)
def test_any_measure_will_do(text: str, limits: tuple[int, int]) -> None:
    def bytes_of(part: str) -> int:
        return len(part.encode())

    most, overlap = limits
    spans = split(text, max_tokens=most, overlap=overlap, length=bytes_of)
    assert "".join("".join(text[s.start : s.end].split()) for s in spans).startswith(
        "".join(text.split())[:1]
    )
    for span in spans:
        pieces = len(text[span.start : span.end].split())
        assert bytes_of(text[span.start : span.end]) <= most + pieces or span.end - span.start == 1


def test_neighbours_share_whole_sentences() -> None:
    text = "One two three. Four five. Six seven eight. Nine ten."
    found = [text[s.start : s.end] for s in split(text, max_tokens=5, overlap=3)]
    assert found == [
        "One two three. Four five.",
        "Four five. Six seven eight.",
        "Six seven eight. Nine ten.",
    ]
    assert len(split(text, max_tokens=5, overlap=0)) == 2


def test_a_sentence_above_the_limit_is_cut_between_words_with_overlap() -> None:
    text = " ".join(f"w{number}" for number in range(20))
    found = [text[s.start : s.end].split() for s in split(text, max_tokens=6, overlap=2)]
    assert all(len(words) <= 6 for words in found)
    assert all(one[-2:] == other[:2] for one, other in pairwise(found))


def test_a_word_above_the_limit_is_cut_between_characters_and_marks_stay() -> None:
    spans = split("abcdefgh", max_tokens=3, overlap=0, length=len)
    assert spans == [Span(0, 3), Span(3, 6), Span(6, 8)]
    text = "e\u0301" * 5
    assert all(span.start % 2 == 0 for span in split(text, max_tokens=3, overlap=0, length=len))


def test_a_blank_text_has_no_passages() -> None:
    assert split("") == split(" \n\t") == []


def test_a_short_text_is_one_passage_without_the_blanks_around_it() -> None:
    assert split("  Cats purr. Dogs bark.\n") == [Span(2, 23)]


def test_settings_survive_json() -> None:
    settings = PassageSettings(max_tokens=64, overlap=8)
    assert PassageSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    with pytest.raises(ConfigError, match="max_tokens and overlap are expected"):
        PassageSettings.from_json({"words": 5})


@pytest.mark.parametrize(("most", "overlap"), [(0, 0), (10, 10), (10, -1), (True, 0), (5.0, 1)])
def test_settings_that_cannot_be_are_refused(most: int, overlap: int) -> None:
    with pytest.raises(ConfigError, match="passages: "):
        PassageSettings(max_tokens=most, overlap=overlap)


def test_real_texts_in_many_languages_are_covered(shared: Path) -> None:
    files = [shared / "data" / "xquad" / lang / "corpus.jsonl" for lang in ("de", "hi", "zh")]
    lines = [line for file in files for line in file.read_bytes().splitlines()[:60]]
    with gzip.open(shared / "data" / "miracl-yo" / "corpus.jsonl.gz") as stream:
        lines += stream.read().splitlines()[:60]
    for line in lines:
        text = json.loads(line)["text"]
        spans = split(text, max_tokens=60, overlap=15)
        covered = set().union(*(range(span.start, span.end) for span in spans))
        assert all(char.isspace() or at in covered for at, char in enumerate(text))
        assert all(count_words(text[span.start : span.end]) <= 60 for span in spans)
