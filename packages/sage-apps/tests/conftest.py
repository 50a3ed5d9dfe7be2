"""A PDF file as a user has one."""

import pytest


@pytest.fixture
def write_pdf():
    """Writes a PDF file whose pages show the given texts; skips where none can be read."""
    pypdf = pytest.importorskip("pypdf")
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    def write(path, *pages, title=None):
        writer = pypdf.PdfWriter()
        names = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
        font = DictionaryObject({NameObject(k): NameObject(v) for k, v in names.items()})
        fonts = DictionaryObject({NameObject("/F1"): font})
        for text in pages:
            page = writer.add_blank_page(600, 300)
            page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
            stream = DecodedStreamObject()
            stream.set_data(f"BT /F1 12 Tf 20 250 Td ({text}) Tj ET".encode("latin-1"))
            page[NameObject("/Contents")] = writer._add_object(stream)
        if title:
            writer.add_metadata({"/Title": title})
        writer.write(path)

    return write
