"""HTML to text: headings as Markdown, a line per block, no scripts.

The parser of the standard library reports tags as they come and builds no tree, so that depth of
nesting costs nothing.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from sage.lib.transform.parser.limits import Limits, check_chars
from sage.lib.transform.parser.text import marked_encoding

_CHARSET = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE
)
_RAW = frozenset({"script", "style", "template", "noscript", "svg", "math", "object"})
_BLOCKS = frozenset(
    {
        "address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt",
        "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "li",
        "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot",
        "thead", "tr", "ul", "h1", "h2", "h3", "h4", "h5", "h6",
    }
)  # fmt: skip
_PARAGRAPHS = frozenset(
    {
        "blockquote", "dl", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre",
        "table", "ul",
    }
)  # fmt: skip
_VOID = frozenset(
    {
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param",
        "source", "track", "wbr",
    }
)  # fmt: skip
_SPACE = re.compile(r"\s+")


class _Reader(HTMLParser):
    def __init__(self, skip: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.language = ""
        self.open_skipped: str | None = None
        self._skip = skip
        self._skipped = 0
        self._in_title = False
        self._pre = 0
        self._out: list[str] = []
        self._gap = 0  # line feeds owed before the next text
        self._space = False
        self._prefix = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if self.open_skipped is not None:
            if tag == self.open_skipped and tag not in _VOID:
                self._skipped += 1
            return
        if tag in self._skip and tag not in _VOID:
            self.open_skipped, self._skipped = tag, 1
            return
        if tag == "html":
            self.language = next((v or "" for k, v in attributes if k == "lang"), "")
        elif tag == "title":
            self._in_title = not self.title
        elif tag == "br":
            self._owe(1)
        elif tag in {"td", "th"}:
            if self._gap == 0 and self._out:
                self._prefix = " | "
        elif tag in _BLOCKS:
            self._owe(2 if tag in _PARAGRAPHS else 1)
            if tag[0] == "h" and tag[1:].isdigit():
                self._prefix = "#" * int(tag[1]) + " "
            elif tag == "li":
                self._prefix = "- "
            elif tag == "pre":
                self._pre += 1

    def handle_endtag(self, tag: str) -> None:
        if self.open_skipped is not None:
            if tag == self.open_skipped:
                self._skipped -= 1
                if self._skipped == 0:
                    self.open_skipped = None
            return
        if tag == "title":
            self._in_title = False
        elif tag in _BLOCKS:
            self._owe(2 if tag in _PARAGRAPHS else 1)
            self._prefix = ""
            if tag == "pre":
                self._pre = max(0, self._pre - 1)

    def handle_data(self, data: str) -> None:
        if self.open_skipped is not None:
            return
        if self._in_title:
            self.title = f"{self.title} {data}".strip()
            return
        if self._pre:
            if data.strip() or self._gap == 0:
                self._put(data.strip("\n") if self._gap else data)
            return
        text = _SPACE.sub(" ", data)
        bare = text.strip()
        if not bare:
            self._space = self._space or bool(text)
            return
        if (self._space or text[0] == " ") and self._gap == 0 and self._out and not self._prefix:
            self._out.append(" ")
        self._put(bare)
        self._space = text[-1] == " "

    def text(self) -> str:
        return "".join(self._out).strip("\n")

    def _owe(self, lines: int) -> None:
        self._gap = max(self._gap, lines)
        self._space = False

    def _put(self, text: str) -> None:
        if self._gap and self._out:
            self._out.append("\n" * self._gap)
        self._gap = 0
        self._out += (self._prefix, text)
        self._prefix = ""


def parse_html(data: bytes, source: str, limits: Limits) -> tuple[str, dict[str, Any]]:
    """The text, with ``title`` and ``language`` where the page says them.

    The encoding is that of the byte-order mark, else the one the page declares, else UTF-8, else
    Windows-1252, as browsers do. Source: WHATWG HTML, "Determining the character encoding".
    """
    markup = _decoded(data)
    reader = _read(markup, _RAW | {tag.strip("<>").lower() for tag in limits.skip_tags})
    if reader.open_skipped is not None and reader.open_skipped not in _RAW:
        reader = _read(markup, _RAW)  # an element that is never closed must not hide the rest
    text = reader.text()
    check_chars(len(text), limits, source)
    found = {"title": _SPACE.sub(" ", reader.title), "language": reader.language}
    return text, {key: value for key, value in found.items() if value}


def _read(markup: str, skip: frozenset[str]) -> _Reader:
    reader = _Reader(skip)
    reader.feed(markup)
    reader.close()
    return reader


def _decoded(data: bytes) -> str:
    name = marked_encoding(data)
    if name is None and (declared := _CHARSET.search(data, 0, 4096)):
        name = declared[1].decode("ascii")
    for encoding in (name, "utf-8"):
        try:
            if encoding is not None:
                return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return data.decode("cp1252", "replace")
