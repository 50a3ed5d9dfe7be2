import io
import os
import zipfile
import zlib

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.errors import ItemError
from sage.lib.io.source.changes import FileChange
from sage.lib.transform import DocumentParser, MarkdownSplitter
from sage.lib.transform.parser import ParseError
from sage.lib.types import Document
from sage.middleware.testing.transforms import TEXTS, TransformSuite

docx = pytest.importorskip("docx")
pypdf = pytest.importorskip("pypdf")


def pdf(*pages, password=None, title=None):
    """A PDF file whose pages show the given lines."""
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    for text in pages:
        page = writer.add_blank_page(300, 300)
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 250 Td ({text}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def word(build):
    document = docx.Document()
    build(document)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def with_part(data, name, content):
    """A Word file with one part replaced."""
    result = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return result.getvalue()


@pytest.fixture
def parse():
    made = []

    def run(name, content, **options):
        parser = DocumentParser(options)
        made.append(parser)
        [document] = parser.execute({"name": name, "content": content})
        return document

    yield run
    for parser in made:
        parser.close()


class TestDocumentParser(TransformSuite):
    def make(self):
        return DocumentParser()

    def documents(self):
        return [
            {"name": f"d{n}.{ending}", "content": before + text + after}
            for ending, before, after in (("txt", "", ""), ("html", "<p>", "</p>"))
            for n, text in enumerate(TEXTS)
        ]


def test_elements_that_are_named_are_left_out():
    page = (
        "<nav>N</nav><header>H<header>h</header></header><p>Text</p><aside>A</aside>"
        "<footer>F</footer><script>S</script>"
    )

    def text(**options):
        found = []
        env = LocalEnvironment("skip")
        item = {"name": "a.html", "content": page}
        env.from_collection([item]).flatmap("DocumentParser", options).sink(found.append)
        env.submit().wait(60)
        return found[0].text.split()

    assert text() == ["H", "h", "Text", "A"]
    assert text(skip_tags=["HEADER", "aside"]) == ["N", "Text", "F"]
    assert text(skip_tags=[]) == ["N", "H", "h", "Text", "A", "F"]


def test_text_and_markdown(parse):
    assert parse("a.md", b"\xef\xbb\xbf# T\r\n\r\nx\r").text == "# T\n\nx\n"
    assert parse("a.txt", "Über".encode("utf-16")).text == "Über"
    assert parse("a.txt", "Über".encode("latin-1"), encoding="latin-1").text == "Über"
    assert parse("a.md", "x").metadata == {"source": "a.md", "format": "md"}


def test_html_becomes_markdown_like_text(parse):
    page = """<!doctype html><html lang="en"><head><title>A &amp; B</title><style>p{}</style>
    </head><body><nav><a>Menu</a></nav><h1>Head</h1><p>Hello <b>bold</b>, world<br>next</p>
    <table><tr><td>a<td>b</tr><tr><td>c</td><td>d</td></tr></table><ul><li>x<li>y</ul>
    <script>evil("<p>no</p>")</script><pre>  two
    lines</pre>&eacute;nd <footer>Imprint</footer></body>"""
    found = parse("a.html", page)
    assert found.text == (
        "# Head\n\nHello bold, world\nnext\n\na | b\nc | d\n\n- x\n- y\n\n  two\n    lines\n\nénd"
    )
    assert found.metadata == {
        "source": "a.html", "format": "html", "title": "A & B", "language": "en",
    }  # fmt: skip


def test_html_in_its_declared_encoding_and_with_unclosed_elements(parse):
    page = '<meta charset="iso-8859-1"><p>Größe'.encode("latin-1")
    assert parse("a.htm", page).text == "Größe"
    assert parse("a.html", "<nav>Menu<p>Text").text == "Menu\n\nText"
    assert parse("a.html", "<div>" * 50_000 + "deep").text == "deep"


def test_pdf_pages_and_facts(parse):
    found = parse("a.pdf", pdf("First page", "Second page", title="Report"))
    assert found.text == "First page\n\nSecond page"
    assert found.metadata["pages"] == 2
    assert [found.text[at:][:6] for at in found.metadata["page_offsets"]] == ["First ", "Second"]
    assert found.metadata["title"] == "Report"


def test_docx_headings_lists_tables(parse):
    def build(document):
        document.add_heading("Head", level=1)
        document.add_paragraph("Some text.")
        document.add_paragraph("one", style="List Bullet")
        table = document.add_table(2, 2)
        for n, cell in enumerate("abcd"):
            table.cell(n // 2, n % 2).text = cell
        document.core_properties.title = "T"

    found = parse("a.docx", word(build))
    assert found.text == "# Head\n\nSome text.\n\n- one\n\na | b\nc | d"
    assert found.metadata["title"] == "T"


def test_encrypted_pdf(parse):
    data = pdf("Secret", password="key")
    with pytest.raises(ParseError, match="password") as caught:
        parse("a.pdf", data)
    assert (caught.value.reason, caught.value.source) == ("encrypted", "a.pdf")
    assert parse("a.pdf", data, password="key").text == "Secret"
    assert parse("a.pdf", pdf("Open", password="")).text == "Open"


def refuse(parse, reason, name, content, **options):
    with pytest.raises(ParseError) as caught:
        parse(name, content, **options)
    assert caught.value.reason == reason, caught.value
    assert name in str(caught.value)


def test_limits_and_broken_files_are_refused_with_their_reason(parse):
    refuse(parse, "pages", "a.pdf", pdf("a", "b", "c"), max_pages=2)
    refuse(parse, "empty", "a.pdf", pdf("", ""))
    refuse(parse, "broken", "a.pdf", pdf("a")[:200])
    refuse(parse, "broken", "a.pdf", b"\x00" * 1000)
    refuse(parse, "broken", "a.docx", b"PK\x03\x04 no archive")
    refuse(parse, "size", "a.html", "x" * 100, max_bytes=99)
    refuse(parse, "size", "a.html", "x" * 100, max_chars=99)
    refuse(parse, "size", "a.txt", "x" * 100, max_chars=99)
    refuse(parse, "encoding", "a.txt", b"ok \xff")
    refuse(parse, "format", "a.txt", b"ELF\x00\x01")
    refuse(parse, "format", "a.xyz", b"?")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(parse):
    bomb = with_part(word(lambda d: None), "word/document.xml", b" " * 20_000_000)
    assert len(bomb) < 100_000
    refuse(parse, "size", "a.docx", bomb, max_unpacked_bytes=10_000_000)


def test_deep_and_expanding_xml_is_refused(parse):
    deep = b"<a>" * 100_000 + b"</a>" * 100_000
    refuse(parse, "broken", "a.docx", with_part(word(lambda d: None), "word/document.xml", deep))
    lines = [b'<!ENTITY e0 "ha">']
    lines += [b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10) for n in range(1, 12)]
    laughs = b"<!DOCTYPE r [" + b"".join(lines) + b"]><r>&e11;</r>"
    with pytest.raises(ParseError):
        parse("a.docx", with_part(word(lambda d: None), "word/document.xml", laughs))


def test_a_pdf_bomb_ends_within_memory_and_time(parse):
    data = zlib.compress(zlib.compress(b" " * 200_000_000, 1), 9)
    assert len(data) < 100_000
    body = b"%PDF-1.4\n"
    offsets = []
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>",
        b"<</Filter[/FlateDecode/FlateDecode]/Length %d>>\nstream\n%s\nendstream"
        % (len(data), data),
    ]
    for n, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (n, content)
    start = len(body)
    body += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % o for o in offsets)
    body += b"trailer<</Root 1 0 R/Size 5>>\nstartxref\n%d\n%%%%EOF\n" % start
    with pytest.raises(ParseError) as caught:
        parse("a.pdf", body, max_memory_mb=100, timeout=20)
    # pypdf itself stops at 75 MB and leaves the page empty; beneath that the process is bounded.
    assert caught.value.reason in ("broken", "memory", "timeout", "crash", "empty")


def test_a_file_that_takes_too_long_is_stopped_and_the_next_one_read():
    parser = DocumentParser({"timeout": 0.2})
    try:
        with pytest.raises(ParseError, match=r"0\.2 s") as caught:
            list(parser.execute({"name": "slow.html", "content": "<div>" * 5_000_000}))
        assert caught.value.reason == "timeout"
        [document] = parser.execute({"name": "a.html", "content": "<p>fine"})
        assert document.text == "fine"
    finally:
        parser.close()


def test_paths_stay_below_the_root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "in.txt").write_text("inside", encoding="utf-8")
    (tmp_path / "out.txt").write_text("outside", encoding="utf-8")
    (root / "link.txt").symlink_to(tmp_path / "out.txt")
    parser = DocumentParser({"root": str(root)})
    assert [d.text for d in parser.execute("in.txt")] == ["inside"]
    for path in ("../out.txt", str(tmp_path / "out.txt"), "link.txt"):
        with pytest.raises(ConfigError, match="outside"):
            list(parser.execute(path))


def test_what_is_no_regular_file_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    for path in (tmp_path / "pipe.txt", tmp_path, tmp_path / "none.txt"):
        with pytest.raises(ParseError) as caught:
            list(DocumentParser({"format": "txt"}).execute(path))
        assert caught.value.reason == "missing"


def test_items_of_every_shape(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("text", encoding="utf-8")
    parser = DocumentParser()
    change = FileChange(id="x/a.txt", path=str(path), hash="ab")
    [found] = parser.execute(change)
    assert (found.id, found.text, found.metadata["hash"]) == ("x/a.txt", "text", "ab")
    gone = FileChange(id="x/a.txt", path=str(path), change="removed")
    assert list(parser.execute(gone)) == []
    [found] = parser.execute({"path": path, "id": "7", "metadata": {"k": 1}})
    assert (found.id, found.text, found.metadata["k"]) == ("7", "text", 1)
    [found] = parser.execute(Document(id="d", text="a\r\nb"))
    assert (found.id, found.text) == ("d", "a\nb")
    with pytest.raises(ItemError, match="int 3"):
        list(parser.execute(3))


def test_in_a_job_broken_files_become_dead_letters_and_the_others_go_on(tmp_path):
    (tmp_path / "a.html").write_text("<h1>T</h1><p>good one", encoding="utf-8")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4 broken")
    (tmp_path / "c.pdf").write_bytes(pdf("good two"))
    seen = []
    env = LocalEnvironment("parse", config={"dead_letter_dir": str(tmp_path / "dead")})
    (
        env.from_collection([str(p) for p in sorted(tmp_path.iterdir())])
        .flatmap(DocumentParser, on_error="dead_letter")
        .flatmap(MarkdownSplitter)
        .sink(seen.append)
    )
    job = env.submit()
    job.wait()
    assert [p.text for p in seen] == ["good one", "good two"]
    [letter] = job.dead_letters()
    assert "b.pdf" in str(letter["error"])
