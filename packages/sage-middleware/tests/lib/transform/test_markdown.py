from hypothesis import given
from hypothesis import strategies as st

from sage.lib.transform import MarkdownSplitter, split_markdown
from sage.lib.types import Document

TEXT = """# Title

Intro one.

Intro two.

## Part

```python
# no heading

x = 1
```
## Next
Line a
line b
"""


def test_passages_follow_headings_and_keep_offsets():
    found = list(MarkdownSplitter().execute(Document(id="d", text=TEXT)))
    assert [(p.id, p.metadata["title"]) for p in found] == [
        ("d#0", "Title"), ("d#1", "Title > Part"), ("d#2", "Title > Next"),
    ]  # fmt: skip
    assert found[0].text == "Intro one.\n\nIntro two."
    assert found[1].text.startswith("```python")
    assert found[2].text == "Line a\nline b"
    assert all(TEXT[p.start : p.end] == p.text and p.parent_id == "d" for p in found)


def test_paragraphs_are_joined_up_to_the_limit():
    found = split_markdown("aaaa\n\nbbbb\n\ncccc", 10)
    assert [(s.start, s.end) for s in found] == [(0, 10), (12, 16)]


@given(st.text(alphabet="ab# \n`", max_size=80), st.integers(1, 20))
def test_no_word_is_lost_or_repeated(text, limit):
    sections = split_markdown(text, limit)
    ends = [0]
    for section in sections:
        assert ends[-1] <= section.start < section.end <= len(text)
        ends.append(section.end)
    covered = "".join(text[s.start : s.end] for s in sections)
    outside = text
    for section in reversed(sections):
        outside = outside[: section.start] + outside[section.end :]
    assert sorted(covered + outside) == sorted(text)
    for line in outside.splitlines():
        assert not line.strip() or line.startswith("#")
