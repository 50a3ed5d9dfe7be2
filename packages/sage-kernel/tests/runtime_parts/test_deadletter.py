from __future__ import annotations

import json
import stat
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import JobError
from sage.common.secrets import Secret
from sage.kernel.runtime.deadletter import DeadLetters, make_letter, read_letters


def write(letters: DeadLetters, item: Any, error: BaseException | None = None) -> dict[str, Any]:
    return letters.write(
        job="job-1",
        operator="map-2:clean",
        uid="clean",
        item_id="src:7",
        item=item,
        error=error or ValueError("bad"),
        attempts=3,
    )


def test_a_letter_says_what_failed_where_and_why(tmp_path: Path):
    path = tmp_path / "deep" / "dead.jsonl"
    letters = DeadLetters(path)
    assert not path.exists()
    try:
        int("x")
    except ValueError as error:
        write(letters, {"q": "what?"}, error)
    (letter,) = read_letters(path)
    assert letter["operator"] == "map-2:clean"
    assert letter["item_id"] == "src:7"
    assert letter["item"] == {"q": "what?"}
    assert letter["item_type"] == "dict"
    assert letter["exact"] is True
    assert letter["attempts"] == 3
    assert letter["error"]["type"] == "builtins.ValueError"
    assert "invalid literal" in letter["error"]["message"]
    assert any('int("x")' in line for line in letter["error"]["traceback"])
    assert letter["time"].endswith("Z")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert letters.recent() == [letter]
    letters.close()
    with pytest.raises(JobError, match="are closed"):
        write(letters, 1)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_plain_json_items_can_be_put_in_again(item):
    letter = make_letter(
        job="j", operator="o", uid="u", item_id=None, item=item, error=ValueError()
    )
    assert letter["exact"] is True
    assert json.loads(json.dumps(letter))["item"] == item


def test_strange_text_survives_the_file(tmp_path: Path):
    letters = DeadLetters(tmp_path / "d")
    items = ["\ud800", "\u2028\n\x00", "日本", {"\ud83d": 1}]
    for item in items:
        write(letters, item)
    letters.close()
    assert [letter["item"] for letter in read_letters(tmp_path / "d")] == items


@attrs.frozen
class Query:
    text: str
    tags: tuple[str, ...] = ()


class Opaque:
    def __repr__(self) -> str:
        return "Opaque!"


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


def test_other_items_are_readable_and_say_that_they_are_not_exact():
    loop: list[Any] = []
    loop.append(loop)
    found = []
    for item in (Query("q", ("a",)), Opaque(), Broken(), float("nan"), (1, 2), loop, {1: Opaque()}):
        letter = make_letter(
            job="j", operator="o", uid="u", item_id=None, item=item, error=ValueError()
        )
        json.dumps(letter, allow_nan=False)
        assert letter["exact"] is False
        found.append(letter["item"])
    assert found == [
        {"text": "q", "tags": ["a"]},
        "Opaque!",
        "<Broken: its repr() raised RuntimeError>",
        None,
        [1, 2],
        "[[...]]",
        {"1": "Opaque!"},
    ]


def test_secrets_are_masked_in_item_message_and_traceback(tmp_path: Path):
    secret = Secret("sk-canary-1234567890").reveal()
    letters = DeadLetters(tmp_path / "d")
    letter = write(letters, {"key": f"Bearer {secret}", secret: [secret]}, ValueError(secret))
    letters.close()
    assert secret not in (tmp_path / "d").read_text()
    assert secret not in json.dumps(letters.recent())
    assert letter["exact"] is False


def test_threads_write_whole_lines_and_listeners_hear_each(tmp_path: Path):
    letters = DeadLetters(tmp_path / "d", keep=10)
    heard: list[Any] = []
    stop = letters.subscribe(lambda letter: heard.append(letter["item"]))

    def work(n: int) -> None:
        for i in range(50):
            write(letters, [n, i, "x" * 500])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop()
    write(letters, "last")
    letters.close()
    items = [letter["item"] for letter in read_letters(tmp_path / "d")]
    assert len(items) == len(letters) == 301
    assert sorted(map(str, heard)) == sorted(map(str, items[:-1]))
    assert [letter["item"] for letter in letters.recent()] == items[-10:]


def test_a_torn_last_line_is_left_out_and_other_damage_named(tmp_path: Path):
    path = tmp_path / "d"
    letters = DeadLetters(path)
    write(letters, 1)
    write(letters, 2)
    letters.close()
    whole = path.read_text()
    path.write_text(whole[:-30])
    assert [letter["item"] for letter in read_letters(path)] == [1]
    path.write_text("{broken\n" + whole)
    with pytest.raises(JobError, match=r"d:1: not a dead letter"):
        list(read_letters(path))
    path.write_text("[]\n")
    with pytest.raises(JobError, match="it has no item and operator"):
        list(read_letters(path))
    with pytest.raises(JobError, match="cannot read"):
        list(read_letters(tmp_path / "none"))


def test_a_file_that_cannot_be_written_is_an_error_with_the_letter(tmp_path: Path):
    (tmp_path / "file").write_text("")
    letters = DeadLetters(tmp_path / "file" / "dead.jsonl")
    with pytest.raises(JobError, match="cannot write the dead letter of item 'src:7'") as e:
        write(letters, 5)
    assert e.value.letter["item"] == 5


def test_letters_in_memory_only():
    letters = DeadLetters(None)
    write(letters, 1)
    assert [letter["item"] for letter in letters.recent()] == [1]
