from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.analysis import LONGEST, WordAnalyzer, make_analyzer
from lsr.errors import ConfigError
from lsr.stop_words import stop_words

TEXTS = st.text(max_size=60) | st.text("ab'’ thedog猫黒가나ไทย हिन्दी🦊_-.", max_size=40)
LANGUAGES = ["english", "german", "french", "hindi", "turkish", "russian", "arabic", None]


def numbered(name: str | None, texts: list[str]) -> list[list[str]]:
    analyzer = WordAnalyzer(name)
    numbering = analyzer.numbering()
    found = analyzer.number(texts, numbering)
    terms = list(numbering.terms)
    spans = zip(found.bounds[:-1].tolist(), found.bounds[1:].tolist(), strict=True)
    return [[terms[at] for at in found.numbers[start:stop].tolist()] for start, stop in spans]


@pytest.mark.parametrize("language", LANGUAGES)
@given(texts=st.lists(TEXTS, max_size=6))
@settings(max_examples=40, deadline=None)
def test_numbered_terms_are_those_of_each_text(language: str | None, texts: list[str]) -> None:
    analyzer = WordAnalyzer(language)
    assert numbered(language, texts) == [analyzer.document_terms(text) for text in texts]


@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_a_text_with_a_letter_has_terms_that_a_query_of_it_asks_for(text: str) -> None:
    analyzer = WordAnalyzer("english")
    document, query = set(analyzer.document_terms(text)), analyzer.query_terms(text)
    if any(character.isalnum() for character in text):
        assert document and query
    assert set(query) <= document


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Η ταχεία αλεπού", "αλεπού"),  # Greek
        ("быстрая лиса", "лиса"),  # Cyrillic
        ("הארנב מהיר", "הארנב"),  # Hebrew
        ("الثعلب السريع", "الثعلب"),  # Arabic
        ("तेज़ लोमड़ी कूदती है", "लोमड़ी"),  # Devanagari
        ("দ্রুত শিয়াল", "শিয়াল"),  # Bengali
        ("விரைவான நரி", "நரி"),  # Tamil
        ("ფრთხილი მელა", "მელა"),  # Georgian
        ("ፈጣን ቀበሮ", "ቀበሮ"),  # Ethiopic
        ("敏捷的狐狸跳过懒狗", "狐狸"),  # Han
        ("素早いキツネが跳ぶ", "キツネ"),  # kana
        ("빠른 여우가 뛴다", "여우"),  # Hangul
        ("สุนัขจิ้งจอกกระโดด", "จิ้งจอก"),  # Thai
        ("ໝາຈອກແລ່ນໄວ", "ໝາຈອກ"),  # Lao
        ("កញ្ជ្រោងលោត", "កញ្ជ្រោង"),  # Khmer
        ("မြေခွေးခုန်သည်", "မြေခွေး"),  # Myanmar
        ("ᐅᖃᓕᒫᒐᖅ ᑎᕆᒐᓂᐊᖅ", "ᑎᕆᒐᓂᐊᖅ"),  # Inuktitut
        ("𐐨𐑌𐐲𐑉", "𐐨𐑌𐐲𐑉"),  # Deseret, beyond the basic plane
        ("fox 🦊 runs", "🦊"),
        ("Ọ̀bọ náà", "Ọ̀bọ"),  # Yoruba, letters with two marks
        ("ｆｕｌｌ ｗｉｄｔｈ", "full"),
        ("٣٤٥ 12½", "٣٤٥"),
    ],
)
@pytest.mark.parametrize("language", ["english", "standard"])
def test_every_script_has_terms_that_are_found_again(text: str, query: str, language: str) -> None:
    analyzer = make_analyzer(language)
    asked = analyzer.query_terms(query)
    assert asked and set(asked) <= set(analyzer.document_terms(text))


def test_stems_and_stop_words_are_those_of_the_language() -> None:
    assert make_analyzer("en").document_terms("The running dogs' houses") == ["run", "dog", "hous"]
    assert make_analyzer("de").document_terms("Die Häuser und der Hund") == ["haus", "hund"]
    assert make_analyzer("es").document_terms("los niños corren") == ["niñ", "corr"]
    assert make_analyzer("hi").document_terms("लड़कों का घर") == ["लड़क", "घर"]
    assert make_analyzer("fr").document_terms("L'homme qu’il aime") == ["homm", "il", "aim"]
    assert make_analyzer("standard").document_terms("The dogs") == ["the", "dogs"]
    assert make_analyzer("zh").document_terms("黑猫") == ["黑", "猫", "黑猫"]
    assert make_analyzer("zh").query_terms("黑猫 猫 警长们") == ["黑猫", "猫", "警长", "长们"]


def test_a_text_of_stop_words_alone_keeps_them() -> None:
    analyzer = make_analyzer("english")
    assert analyzer.query_terms("to be or not to be") == ["to", "be", "or", "not", "to", "be"]
    assert analyzer.document_terms("The the band") == ["band"]
    assert numbered("english", ["of the", "a dog", "", "…"]) == [["of", "the"], ["dog"], [], []]


def test_words_lose_what_is_not_of_them() -> None:
    analyzer = make_analyzer("standard")
    assert analyzer.document_terms("'quoted' don’t co\u00adoperate می\u200cخواهم") == [
        "quoted", "don't", "cooperate", "میخواهم",
    ]  # fmt: skip
    assert analyzer.document_terms("foo_bar.baz(C++)") == ["foo", "bar", "baz", "c"]
    assert [len(term) for term in analyzer.document_terms("x" * 5000)] == [LONGEST]


def test_an_unknown_language_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="no analyzer 'klingon'") as caught:
        make_analyzer("klingon")
    assert "hf:TOKENIZER" in (caught.value.hint or "") and "german" in (caught.value.hint or "")


def test_stop_words_are_lower_case_and_single() -> None:
    for language in ("english", "german", "french", "russian", "hindi", "turkish"):
        words = stop_words(language)
        assert words and all(word == word.lower() and word.strip() == word for word in words)
    assert stop_words("basque") == frozenset()


def test_a_tokenizer_of_hugging_face_makes_terms(tmp_path: Path) -> None:
    analyzer = make_analyzer("hf:bundled")
    assert analyzer.query_terms("Unbelievable naïve") == ["unbelievable", "naive"]
    assert "[UNK]" not in analyzer.document_terms("x 𓀀 y")
    numbering = analyzer.numbering()
    found = analyzer.number(["jumping", "", "𓀀 jumping"], numbering)
    assert found.bounds.tolist() == [0, 1, 1, 2] and list(numbering.terms) == ["jumping"]
    kept = analyzer.to_json()
    assert make_analyzer(kept).to_json() == kept
    with pytest.raises(ConfigError, match="not the tokenizer that the index was made with"):
        make_analyzer({**kept, "fingerprint": "0"})
    with pytest.raises(ConfigError, match=r"has no tokenizer\.json"):
        make_analyzer(f"hf:{tmp_path}")


def test_languages_without_a_list_of_stop_words_say_so() -> None:
    import Stemmer

    without = {one for one in Stemmer.algorithms() if WordAnalyzer(one).lacks_stop_words}
    assert {"greek", "tamil", "persian"} <= without and len(without) == 15
    assert not without & {"english", "porter", "dutch_porter", "german"}
    assert not WordAnalyzer(None).lacks_stop_words
    # Their frequent words are terms like others.
    assert len(WordAnalyzer("greek").document_terms("το σπίτι και το δέντρο")) == 5
