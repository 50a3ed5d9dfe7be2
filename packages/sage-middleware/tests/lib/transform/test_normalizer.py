import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError
from sage.lib.transform import DataNormalizer
from sage.lib.types import Document
from sage.middleware.testing.transforms import TransformSuite


class TestNormalizer(TransformSuite):
    def make(self):
        return DataNormalizer()


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({}, "  U\u0308ber \t den\u00a0Wolken \r\n\r\n\r\n\r\nEnde ", "Über den Wolken\n\nEnde"),
        ({}, "\ufeffa\x00b\x1b[31m\u202egnp\u200b.exe\ud800", "ab[31mgnp.exe"),
        ({}, "👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ({"unicode": "NFKC"}, "ﬁne Ｔｅｘｔ", "fine Text"),
        ({"whitespace": "collapse"}, " a\n\n b\tc ", "a b c"),
        ({"whitespace": "keep"}, " a\r\n  b ", " a\r\n  b "),
        ({"whitespace": "keep", "control": False, "unicode": "none"}, "\0 u\u0308", "\0 u\u0308"),
        ({"hyphenation": True}, "Daten-\nfluss, Nord-\nSüd\u00ad!", "Datenfluss, Nord-\nSüd!"),
        ({"quotes": True, "lowercase": True}, "„Straße“ – it’s", '"strasse" – it\'s'),
    ],
)  # fmt: skip
def test_rules(options, text, expected):
    assert DataNormalizer(options).normalize(text) == expected


@given(
    st.text(
        alphabet=st.one_of(st.characters(), st.sampled_from(" \n\r\t-\u0308a\u00ad‘")), max_size=60
    ),
    st.fixed_dictionaries(
        {
            "unicode": st.sampled_from(("NFC", "NFKC", "NFD", "NFKD", "none")),
            "whitespace": st.sampled_from(("lines", "collapse", "keep")),
            "control": st.booleans(), "hyphenation": st.booleans(),
            "quotes": st.booleans(), "lowercase": st.booleans(),
        }
    ),
)  # fmt: skip
def test_twice_is_once(text, options):
    normalizer = DataNormalizer(options)
    once = normalizer.normalize(text)
    assert normalizer.normalize(once) == once
    if options["control"]:
        once.encode()


def test_identity_and_metadata_stay_and_stale_offsets_go():
    given = Document(id="d", text="a  b", metadata={"k": 1}, start=3, end=7, parent_id="p")
    assert DataNormalizer().execute(given) == Document(
        id="d", text="a b", metadata={"k": 1}, parent_id="p"
    )
    clean = Document(id="d", text="a b", start=3, end=6, parent_id="p")
    assert DataNormalizer().execute(clean) is clean


def test_unknown_forms_are_refused():
    with pytest.raises(ConfigError, match="unicode"):
        DataNormalizer({"unicode": "NFX"})
