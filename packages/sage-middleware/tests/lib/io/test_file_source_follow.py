"""``FileSource`` with ``follow``: a file that is still being written."""

import queue
import threading

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError
from sage.lib.io.source import FileSource


class Followed:
    """A job that follows a file, and what it has seen."""

    def __init__(self, path, **settings):
        self.seen = queue.Queue()
        env = LocalEnvironment("follow")
        config = {"file_path": str(path), "follow": True, "poll_interval": 0.01, **settings}
        env.from_source(FileSource, config).sink(lambda query: self.seen.put(query.text))
        self.job = env.submit()

    def next(self, count):
        return [self.seen.get(timeout=30) for _ in range(count)]

    def cancel(self):
        self.job.cancel()
        assert self.seen.empty()


@pytest.fixture
def follow():
    made = []

    def start(path, **settings):
        made.append(Followed(path, **settings))
        return made[-1]

    yield start
    for each in made:
        each.job.cancel()


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


def test_lines_come_when_they_are_whole(follow, tmp_path):
    path = tmp_path / "q.txt"
    path.write_bytes(b"one\ntw")
    followed = follow(path)
    assert followed.next(1) == ["one"]
    append(path, b"o\nthr\xc3")
    assert followed.next(1) == ["two"]
    append(path, b"\xa9e\n\nfour\n")
    assert followed.next(2) == ["thr\u00e9e", "four"]
    followed.cancel()


def test_a_file_that_is_not_there_yet_is_waited_for(follow, tmp_path):
    path = tmp_path / "q.jsonl"
    followed = follow(path)
    path.write_text('{"query": "late"}\n', encoding="utf-8")
    assert followed.next(1) == ["late"]
    followed.cancel()


def test_a_rotated_and_a_cut_file_are_read_from_the_beginning(follow, tmp_path):
    path = tmp_path / "q.txt"
    path.write_text("first\n", encoding="utf-8")
    followed = follow(path)
    assert followed.next(1) == ["first"]
    (tmp_path / "new").write_text("second\n", encoding="utf-8")
    (tmp_path / "new").replace(path)
    assert followed.next(1) == ["second"]
    path.write_text("3\n", encoding="utf-8")
    assert followed.next(1) == ["3"]
    followed.cancel()


def test_limit_ends_it(tmp_path):
    path = tmp_path / "q.txt"
    path.write_text("a\n", encoding="utf-8")
    source = FileSource({"file_path": str(path), "follow": True, "limit": 2, "poll_interval": 0.01})
    found = []
    reader = threading.Thread(target=lambda: found.extend(source.run()))
    reader.start()
    append(path, b"b\n")
    reader.join(30)
    assert [query.text for query in found] == ["a", "b"]
    assert [query.id for query in found] == ["q:1", "q:2"]


def test_what_cannot_be_followed(tmp_path):
    for name in ("*.txt", "a.parquet"):
        with pytest.raises(ConfigError, match="follow"):
            FileSource({"file_path": str(tmp_path / name), "follow": True})
    (tmp_path / "a.txt").touch()
    config = {"file_path": str(tmp_path / "a.txt"), "follow": True, "encoding": "utf-16"}
    with pytest.raises(ConfigError, match="ASCII"):
        next(FileSource(config).run())
