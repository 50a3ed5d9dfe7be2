"""``FileSource`` with ``follow``: a file that is still being written."""

import queue
import threading

import pytest

from sage.api import LocalEnvironment
from sage.common.errors import ConfigError, JobFailedError
from sage.lib.io.sink import FileSink
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


@pytest.fixture
def run(tmp_path):
    """Reads ``count`` more items of the file; with ``after`` as a run that goes on."""

    def run(path, count, after=None, **settings):
        source = FileSource(
            {
                "file_path": str(path),
                "follow": True,
                "item_type": "record",
                "poll_interval": 0.01,
                "limit": count + (0 if after is None else after.offset["items"]),
                **settings,
            }
        )
        if after is not None:
            source.seek(after.offset)
        return source, list(source.run())

    return run


def test_it_goes_on_at_every_offset_of_a_file_that_grows(run, tmp_path):
    path = tmp_path / "q.csv"
    path.write_text('a,b\n1,x\n\n2,"y\ny"\n3,z\n', encoding="utf-8")
    _, everything = run(path, 3)
    for count in (1, 2):
        first, before = run(path, count)
        again, rest = run(path, 3 - count, after=first)
        assert before + rest == everything == [
            {"a": "1", "b": "x"}, {"a": "2", "b": "y\ny"}, {"a": "3", "b": "z"},
        ]  # fmt: skip
        assert again.offset["items"] == 3
    append(path, b"4,new\n")
    assert run(path, 1, after=again)[1] == [{"a": "4", "b": "new"}]


def test_a_restart_after_a_rotation_reads_the_rest_of_the_old_file_and_the_new_one(run, tmp_path):
    path = tmp_path / "q.txt"
    path.write_text("1\n2\n3\n", encoding="utf-8")
    first, before = run(path, 2)
    path.rename(tmp_path / "q.txt.1")
    path.write_text("4\n5\n", encoding="utf-8")
    again, rest = run(path, 3, after=first, item_type="query")
    assert before + [query.text for query in rest] == ["1", "2", "3", "4", "5"]
    assert [query.id for query in rest] == ["q:3", "q:4", "q:5"]
    append(path, b"6\n")
    assert run(path, 1, after=again)[1] == ["6"]


def remove_and_replace(path):
    path.unlink()
    path.write_text("4\n5\n6\n7\n", encoding="utf-8")


def cut_and_write(path):
    path.write_text("4\n5\n", encoding="utf-8")


def overwrite(path):  # it keeps its number and is longer: as when that is given out again
    path.write_text("4\n5\n6\n7\n", encoding="utf-8")


@pytest.mark.parametrize("replace", [remove_and_replace, cut_and_write, overwrite])
def test_a_restart_without_the_old_file_reads_the_new_one_and_warns(run, tmp_path, caplog, replace):
    path = tmp_path / "q.txt"
    path.write_text("1\n2\n3\n", encoding="utf-8")
    first, _ = run(path, 3)
    replace(path)
    assert run(path, 2, after=first)[1] == ["4", "5"]
    (warning,) = caplog.messages
    assert str(path) in warning and "byte 6" in warning and "may be missing" in warning


def test_a_place_before_the_first_item_is_one_in_that_file(tmp_path):
    path = tmp_path / "q.txt"
    config = {"file_path": str(path), "follow": True, "item_type": "record", "limit": 3}
    source = FileSource(config)
    assert source.offset == 0  # nobody knows which file that will be
    path.write_text("1\n2\n", encoding="utf-8")
    offset = source.offset
    path.rename(tmp_path / "q.txt.1")
    path.write_text("3\n", encoding="utf-8")
    again = FileSource(config)
    again.seek(offset)
    assert list(again.run()) == ["1", "2", "3"]


def test_a_job_that_failed_goes_on_behind_a_rotation(tmp_path):
    path, broken = tmp_path / "q.txt", tmp_path / "broken"
    path.write_text("a\nb\nc\nd\n", encoding="utf-8")
    broken.touch()
    jobs = []

    def completed():
        return any(event.get("event") == "checkpoint_completed" for event in jobs[0].events())

    def check(line):
        if line == "b":  # behind it the source answers the checkpoint it is asked for
            while not jobs or jobs[0].barrier == 0:
                pass
        if line == "d" and broken.exists():
            while not completed():
                pass
            raise ValueError(line)
        return line

    def submit():
        env = LocalEnvironment("follow").enable_checkpoints(None, every=1, store=tmp_path / "runs")
        config = {
            "file_path": str(path),
            "follow": True,
            "item_type": "record",
            "poll_interval": 0.01,
            "limit": 6,
        }
        lines = env.from_source(FileSource, config).map(check)
        lines.sink(FileSink, {"file_path": str(tmp_path / "out.txt")})
        jobs.append(env.submit())
        jobs[-1].wait(60)

    with pytest.raises(JobFailedError):
        submit()
    broken.unlink()
    path.rename(tmp_path / "q.txt.1")
    path.write_text("e\nf\n", encoding="utf-8")
    submit()
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").split() == list("abcdef")


def test_a_checkpoint_of_another_way_of_reading_is_refused(run, tmp_path):
    path = tmp_path / "q.txt"
    path.write_text("1\n2\n", encoding="utf-8")
    first, _ = run(path, 1)
    with pytest.raises(ConfigError, match=r"taken with follow.*resume='never'"):
        FileSource({"file_path": str(path)}).seek(first.offset)
    with pytest.raises(ConfigError, match="taken without follow"):
        FileSource({"file_path": str(path), "follow": True}).seek(1)


def test_the_header_of_a_rotated_table_is_no_item(follow, tmp_path):
    path = tmp_path / "q.csv"
    path.write_text("id,query\n1,first\n", encoding="utf-8")
    followed = follow(path)
    assert followed.next(1) == ["first"]
    (tmp_path / "new").write_text("query,id\nsecond,2\n", encoding="utf-8")
    (tmp_path / "new").replace(path)
    assert followed.next(1) == ["second"]
    followed.cancel()


def test_a_name_without_a_file_is_warned_about_once(run, tmp_path, caplog):
    path = tmp_path / "typo.txt"
    made = threading.Thread(target=make_when, args=(lambda: caplog.messages, path))
    made.start()
    assert run(path, 1)[1] == ["late"]
    made.join()
    assert caplog.messages == [f"waiting for {str(path)!r}, which does not exist"]


def make_when(told, path):
    pause = threading.Event().wait
    while not told():
        pause(0.01)
    path.write_text("late\n", encoding="utf-8")


def test_what_cannot_be_followed(tmp_path):
    for name in ("*.txt", "a.parquet"):
        with pytest.raises(ConfigError, match="follow"):
            FileSource({"file_path": str(tmp_path / name), "follow": True})
    (tmp_path / "a.txt").touch()
    config = {"file_path": str(tmp_path / "a.txt"), "follow": True, "encoding": "utf-16"}
    with pytest.raises(ConfigError, match="ASCII"):
        next(FileSource(config).run())
