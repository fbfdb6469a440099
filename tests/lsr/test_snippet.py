from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.snippet import make_snippet, render


def marked(text: str, tokens: dict[str, float], width: int = 200) -> str:
    return render(make_snippet(text, tokens, width=width), "[", "]")


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("The cat sat.", {"cat": 1.0}, "The [cat] sat."),
        ("The CAT sat.", {"cat": 1.0}, "The [CAT] sat."),
        ("A cattle market.", {"cat": 1.0}, "A cattle market."),
        ("Hearts beat.", {"heart": 1.0}, "[Hearts] beat."),
        ("Die Käse-Theke.", {"kase": 1.0}, "Die [Käse]-Theke."),
        ("cafe\u0301 noir", {"cafe": 1.0}, "[cafe\u0301] noir"),
        ("La maison.", {"\u2581maison": 1.0}, "La [maison]."),
        ("It can purr.", {"pu": 1.0, "##rr": 0.5}, "It can [purr]."),
        ("It can purl.", {"pu": 1.0, "##rr": 0.5}, "It can purl."),
        ("मेरी बिल्ली सोती है", {"बिल्ली": 1.0}, "मेरी [बिल्ली] सोती है"),
        ("我喜欢猫和狗。", {"猫": 1.0, "狗": 1.0}, "我喜欢[猫]和[狗]。"),
        ("แมวและหมา", {"แมว": 1.0}, "[แมว]และหมา"),
        ("nothing here", {"cat": 1.0}, "nothing here"),
        ("", {"cat": 1.0}, ""),
        ("a\n\n  cat\tsat", {"cat": 1.0}, "a [cat] sat"),
    ],
)
def test_words_that_matched_are_marked(text: str, tokens: dict[str, float], expected: str) -> None:
    assert marked(text, tokens) == expected


def test_the_window_is_where_the_tokens_weigh_most() -> None:
    text = "filler " * 80 + "one cat " + "filler " * 80 + "a cat and a dog meet " + "filler " * 80
    found = marked(text, {"cat": 1.0, "dog": 0.5}, width=60)
    assert "a [cat] and a [dog] meet" in found
    assert found.startswith("…filler") and found.endswith("filler…")


def test_one_heavy_token_beats_many_of_a_light_one() -> None:
    text = "the " * 50 + "x " * 100 + "zebra " + "x " * 100
    assert "[zebra]" in marked(text, {"the": 0.1, "zebra": 2.0}, width=40)


def test_a_text_without_matches_shows_its_head_in_whole_words() -> None:
    found = make_snippet("word " * 100, {"cat": 1.0}, width=52)
    assert found.text == "word " * 9 + "word…"
    assert found.marks == ()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


@given(texts, st.dictionaries(st.text(min_size=1, max_size=5), st.floats(0.1, 5)), texts)
def test_marks_are_in_order_inside_the_text_and_cut_no_character(
    text: str, tokens: dict[str, float], more: str
) -> None:
    found = make_snippet(f"{text} {' '.join(tokens)} {more}", tokens, width=60)
    assert len(found.text) <= 60 + 2 + len(text) + len(more)
    at = 0
    for start, end in found.marks:
        assert at <= start < end <= len(found.text)
        at = end
    body = found.text.removeprefix("…")
    if body and body != found.text:
        assert not unicodedata.combining(body[0])
