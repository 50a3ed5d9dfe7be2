"""Languages: code, name, stemmer; and the stemmer a script implies."""

from __future__ import annotations

from types import MappingProxyType

import attrs

from sage.common.errors import ConfigError


@attrs.frozen
class Language:
    """A language the analyzer knows.

    Attributes:
        code: ISO 639-1.
        stemmer: Algorithm of the Snowball project, or ``""`` for none.
    """

    code: str
    stemmer: str


_STEMMERS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek",
    "en": "english", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian",
    "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian",
    "hy": "armenian", "id": "indonesian", "it": "italian", "ja": "", "ko": "", "lt": "lithuanian",
    "ne": "nepali", "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil",
    "th": "", "tr": "turkish", "uk": "", "vi": "", "yi": "yiddish", "zh": "",
}  # fmt: skip

LANGUAGES: MappingProxyType[str, Language] = MappingProxyType(
    {code: Language(code, stemmer) for code, stemmer in _STEMMERS.items()}
)
"""Known languages by ISO 639-1 code."""

_SCRIPTS = (
    ("\u0370", "\u03ff", "el"),
    ("\u0400", "\u04ff", "ru"),
    ("\u0530", "\u058f", "hy"),
    ("\u0600", "\u06ff", "ar"),
    ("\u0900", "\u097f", "hi"),
    ("\u0b80", "\u0bff", "ta"),
)


def language(name: str) -> Language:
    """The language of an ISO 639-1 code or an English name.

    Raises:
        ConfigError: The language is not known.
    """
    key = name.strip().lower()
    if key in LANGUAGES:
        return LANGUAGES[key]
    for known in LANGUAGES.values():
        if key == known.stemmer:
            return known
    raise ConfigError(
        f"language {name!r} is not known; expected an ISO 639-1 code, one of "
        f"{', '.join(sorted(LANGUAGES))}, or 'auto', or 'none' for no stemming and no stop words",
        language=name,
    )


def language_of_script(word: str) -> str | None:
    """Code of the language whose stemmer fits a word by its first letter; ``None`` for Latin."""
    first = word[0]
    if first < "\u0370":
        return None
    for low, high, code in _SCRIPTS:
        if low <= first <= high:
            return code
    return None
