"""Added terms travel behind the text, and only their tokenizer reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.added_terms import AddedTermsTokenizer, encoder_text, split_added, with_added
from lsr.encoder import load_encoder
from lsr.passages import texts_to_encode
from lsr.tokens import TextTokenizer
from lsr.types import Document, Span

FOLDER = Path(__file__).parents[2] / "lsr" / "bundled"
WORDS = st.lists(
    st.sampled_from(["cat", "dog", "rain", "green", "car", "tree", "river", "bird"]), max_size=12
)


@pytest.fixture(scope="module")
def plain() -> TextTokenizer:
    return TextTokenizer(FOLDER, length=12)


@pytest.fixture(scope="module")
def adding() -> AddedTermsTokenizer:
    return AddedTermsTokenizer(FOLDER, length=12)


def words(tokenizer: TextTokenizer, text: str) -> list[str]:
    return [tokenizer.token(int(term)) for term in tokenizer.encode([text])[0]]


def test_new_terms_come_once_behind_the_text(adding: AddedTermsTokenizer) -> None:
    text = with_added("the cat", ["dog cat", "dog [SEP] rain"])
    assert words(adding, text) == ["[CLS]", "the", "cat", "[SEP]", "dog", "rain"]
    assert words(adding, "the cat") == ["[CLS]", "the", "cat", "[SEP]"]


def test_many_terms_take_half_of_the_length_and_the_text_keeps_its_end(
    adding: AddedTermsTokenizer,
) -> None:
    long = "one two three four five six seven eight nine ten"
    added = "cat dog rain green car tree river bird"
    found = words(adding, with_added(long, added))
    assert found == ["[CLS]", "one", "two", "three", "four", "[SEP]", *added.split()[:6]]
    assert words(adding, with_added(long, "cat"))[-2:] == ["[SEP]", "cat"]
    assert len(words(adding, with_added("one", added))) == 3 + 8


def test_other_tokenizers_and_encoders_read_the_text_alone(plain: TextTokenizer) -> None:
    assert words(plain, with_added("the cat", "dog")) == ["[CLS]", "the", "cat", "[SEP]"]
    encoder = load_encoder()
    one, other = encoder.encode_documents([with_added("the cat", "dog"), "the cat"], threads=1)
    np.testing.assert_array_equal(one.terms, other.terms)
    np.testing.assert_array_equal(one.weights, other.weights)


@settings(deadline=None)
@given(WORDS, WORDS)
def test_length_holds_and_every_term_of_the_rest_is_there(
    adding: AddedTermsTokenizer, own: list[str], added: list[str]
) -> None:
    tokenizer = adding
    text, more = " ".join(own), " ".join(added)
    assert split_added(with_added(text, more)) == (text, more)
    found = tokenizer.encode([with_added(text, more)])[0]
    assert len(found) <= 12
    behind = [term for term in dict.fromkeys(added) if term not in own]
    if len(own) + 2 + len(behind) <= 12:
        assert [tokenizer.token(int(term)) for term in found[len(own) + 2 :]] == behind


@pytest.mark.parametrize("value", ["pet", ["pet"], ["", " pet "]])
def test_a_document_has_them_in_a_field(value: str | list[str]) -> None:
    document = Document("1", title="A", text="cat. It purrs.", fields={"added_terms": value})
    assert split_added(encoder_text(document))[0] == "A cat. It purrs."
    assert split_added(encoder_text(document))[1].strip() == "pet"
    passages = texts_to_encode([document], [[Span(0, 4), Span(5, 14)]])
    assert [split_added(text)[0] for text in passages] == ["A cat.", "A It purrs."]
    assert all(split_added(text)[1].strip() == "pet" for text in passages)


@pytest.mark.parametrize("value", [None, 7, "", "  ", [], [7]])
def test_what_is_no_text_adds_nothing(value: object) -> None:
    assert with_added("a cat", value) == "a cat"
