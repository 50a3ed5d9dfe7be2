import json
import os

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.errors import InputFileError
from sage.lib.io.source import DirectorySource
from sage.lib.transform import DocumentParser


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "docs"
    (root / "sub").mkdir(parents=True)
    (root / "a.md").write_text("alpha", encoding="utf-8")
    (root / "sub" / "b.txt").write_text("beta", encoding="utf-8")
    (root / ".hidden.md").write_text("no", encoding="utf-8")
    return root


def changes(root, **options):
    return [(c.id, c.change) for c in DirectorySource({"path": str(root), **options}).run()]


def test_without_a_state_every_file_is_added_in_order(folder):
    for _ in range(2):
        assert changes(folder) == [("a.md", "added"), ("sub/b.txt", "added")]
    assert changes(folder, pattern="*.md") == [("a.md", "added")]
    assert changes(folder, pattern=["*.md", "sub/*"], exclude=["*.txt"]) == [("a.md", "added")]
    assert (".hidden.md", "added") in changes(folder, hidden=True)


def test_a_state_file_makes_it_incremental(folder):
    state = str(folder / "state.json")
    assert [c for _, c in changes(folder, state_file=state)] == ["added", "added"]
    assert changes(folder, state_file=state) == []
    (folder / "a.md").write_text("alpha 2", encoding="utf-8")
    (folder / "sub" / "b.txt").unlink()
    (folder / "c.md").write_text("new", encoding="utf-8")
    assert changes(folder, state_file=state) == [
        ("sub/b.txt", "removed"), ("a.md", "changed"), ("c.md", "added"),
    ]  # fmt: skip
    os.utime(folder / "a.md", (1, 1))  # touched, not changed
    assert changes(folder, state_file=state) == []
    assert changes(folder, state_file=state, unchanged=True) == [
        ("a.md", "unchanged"), ("c.md", "unchanged"),
    ]  # fmt: skip


def test_verify_sees_a_change_that_kept_time_and_size(folder):
    state = str(folder.parent / "state.json")
    changes(folder, state_file=state)
    before = (folder / "a.md").stat()
    (folder / "a.md").write_text("ALPHA", encoding="utf-8")
    os.utime(folder / "a.md", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changes(folder, state_file=state) == []
    assert changes(folder, state_file=state, verify=True) == [("a.md", "changed")]


def test_a_stopped_run_reports_the_same_changes_again(folder):
    state = str(folder.parent / "state.json")
    items = DirectorySource({"path": str(folder), "state_file": state}).run()
    assert next(items).id == "a.md"
    items.close()
    for expected in ([("a.md", "added"), ("sub/b.txt", "added")], []):
        assert changes(folder, state_file=state) == expected


def test_it_goes_on_at_an_offset(folder):
    first = DirectorySource({"path": str(folder)})
    items = first.run()
    next(items)
    again = DirectorySource({"path": str(folder)})
    again.seek(first.offset)
    assert [c.id for c in again.run()] == ["sub/b.txt"]
    assert again.offset == 2


def test_links_out_of_the_directory_are_left_out(folder, tmp_path):
    (tmp_path / "secret.md").write_text("s", encoding="utf-8")
    (folder / "link.md").symlink_to(tmp_path / "secret.md")
    (folder / "loop").symlink_to(folder)
    assert changes(folder, pattern="**/*.md") == [("a.md", "added")]


def test_errors_say_what_is_wrong(folder, tmp_path):
    with pytest.raises(InputFileError, match="no directory"):
        changes(tmp_path / "none")
    with pytest.raises(ConfigError, match="max_files"):
        changes(folder, max_files=1)
    with pytest.raises(ConfigError, match="glob"):
        changes(folder, pattern="/etc/*")
    state = tmp_path / "s.json"
    for content in ("{", "[]", json.dumps({"format": 1, "root": "/x", "files": {}})):
        state.write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError, match="state file"):
            changes(folder, state_file=str(state))


def test_a_job_reads_a_directory_and_the_next_one_only_what_changed(folder, tmp_path):
    def run():
        seen = []
        env = LocalEnvironment("ingest")
        (
            env.from_source(
                DirectorySource, {"path": str(folder), "state_file": str(tmp_path / "s.json")}
            )
            .flatmap(DocumentParser)
            .sink(seen.append)
        )
        env.submit().wait()
        return [(d.id, d.text) for d in seen]

    assert run() == [("a.md", "alpha"), ("sub/b.txt", "beta")]
    (folder / "a.md").write_text("alpha two", encoding="utf-8")
    assert run() == [("a.md", "alpha two")]
