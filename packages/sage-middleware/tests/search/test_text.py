from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.common.errors import ConfigError
from sage.middleware.search.text import Analyzer, detect_language, tokenize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World! 3.5x", ["hello", "world", "3", "5x"]),
        ("don't O’Neill", ["don't", "o'neill"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("ﬁne ＡＢＣ", ["fine", "abc"]),
        ("снег идёт", ["снег", "идёт"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("黑豹队丢了308分", ["黑豹", "豹队", "队丢", "丢了", "308", "分"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("한국어 책", ["한국", "국어", "책"]),
        ("snake_case", ["snake", "case"]),
        ("", []),
    ],
)
def test_words_of_any_script(text, expected):
    assert tokenize(text) == expected


# The first text of all makes hypothesis read the Unicode tables: no deadline.
@settings(deadline=None)
@given(st.text())
def test_tokens_are_never_empty_nor_spaces(text):
    for token in tokenize(text):
        assert token
        assert not token.isspace()
        assert "\n" not in token


@pytest.mark.parametrize(
    ("lang", "one", "other"),
    [
        ("en", "running experiments", "run experiment"),
        ("de", "Häuser Bücher", "Haus Buch"),
        ("fr", "les chevaux", "cheval"),
        ("es", "corriendo", "correr"),
        ("en", "книги", "книга"),
    ],
)
def test_inflected_forms_meet(lang, one, other):
    analyzer = Analyzer(lang)
    assert set(analyzer.terms(other)) <= set(analyzer.terms(one))


def test_articles_before_an_apostrophe_are_dropped():
    assert Analyzer("fr").terms("l'histoire") == Analyzer("fr").terms("histoire")
    assert Analyzer("en").terms("don't") == ["don't"]


def test_no_language_means_words_as_they_are():
    assert Analyzer("none").terms("The running of the bulls") == [
        "the",
        "running",
        "of",
        "the",
        "bulls",
    ]
    assert Analyzer("en", stemming=False).terms("The running") == ["running"]
    assert "the" in Analyzer("en", stop_words=False).terms("The running")


def test_a_query_of_one_character_finds_documents():
    analyzer = Analyzer("zh")
    assert set(analyzer.terms("猫", query=True)) <= set(analyzer.terms("黑猫警长"))
    assert analyzer.terms("黑猫", query=True) == ["黑猫"]


def test_unknown_language():
    with pytest.raises(ConfigError, match="klingon"):
        Analyzer("klingon")
    assert Analyzer("German").language == "de"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The cat is on the table and it does not want to come down for the food", "en"),
        ("Die Katze ist auf dem Tisch und sie will nicht zu dem Futter kommen", "de"),
        ("Le chat est sur la table et il ne veut pas descendre pour manger", "fr"),
        ("El gato está en la mesa y no quiere bajar para comer con los otros", "es"),
        ("De kat zit op de tafel en hij wil niet naar het eten komen", "nl"),
        ("Il gatto è sul tavolo e non vuole scendere per mangiare con gli altri", "it"),
        ("O gato está em cima da mesa e não quer descer para comer com os outros", "pt"),
        ("黑豹队 NFL 防守 Super Bowl", "en"),
        ("", "en"),
    ],
)
def test_language_of_running_text(text, code):
    assert detect_language([text]).code == code
