from __future__ import annotations

import os
import pickle
import resource
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.common.errors import ConfigError
from sage.kernel.checkpoint.manifest import content_hash, read_manifest
from sage.kernel.checkpoint.store import (
    MAX_PACKS,
    CheckpointError,
    CheckpointLockedError,
    CheckpointStore,
    CheckpointWarning,
)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with CheckpointStore(tmp_path / "checkpoints") as opened:
        yield opened


def parts_of(number: int) -> dict[str, bytes]:
    """Parts that change at different rates; some are empty, some equal."""
    return {
        "never": b"same" * 50,
        "often": b"%d" % number * 30,
        "seldom": b"%d" % (number // 3) * 30,
        "seldom too": b"%d" % (number // 3) * 30,
        "empty": b"",
        "uid/0/keyed/a b/ü": b"\0\xff" + bytes([number % 2]),
    }


def files(store: CheckpointStore, suffix: str = "") -> list[str]:
    return sorted(
        p.name for p in store.path.iterdir() if p.name.endswith(suffix) and p.name != "lock"
    )


def test_what_was_written_is_read(store):
    assert store.load() is None
    assert store.list() == []
    info = store.write(1, parts_of(1), {"time": 5, "steps": {"a": ["ü", None, 1.5]}})
    loaded = store.load()
    assert loaded is not None
    assert (loaded.id, loaded.facts) == (1, {"time": 5, "steps": {"a": ["ü", None, 1.5]}})
    assert dict(loaded.parts) == parts_of(1)
    assert "never" in loaded.parts
    assert "nothing" not in loaded.parts
    assert len(loaded.parts) == len(parts_of(1))
    with pytest.raises(KeyError):
        loaded.parts["nothing"]
    assert store.list() == [info]
    assert info.bytes == sum(map(len, parts_of(1).values()))
    assert info.new_bytes == sum((store.path / name).stat().st_size for name in files(store))
    assert store.load(7) is None


def test_a_checkpoint_without_parts(store):
    store.write(1, {}, {})
    assert dict(store.load().parts) == {}
    assert files(store) == ["checkpoint-00000001.json"]


def test_only_what_is_new_is_written(store):
    store.write(3, parts_of(3), {})
    again = store.write(4, parts_of(3), {})
    assert len(files(store, ".pack")) == 1
    assert again.new_bytes == (store.path / "checkpoint-00000004.json").stat().st_size
    changed = store.write(5, {**parts_of(3), "often": b"x" * 1000}, {})
    assert 1000 < changed.new_bytes - again.new_bytes < 1300
    for number, parts in ((3, parts_of(3)), (5, {**parts_of(3), "often": b"x" * 1000})):
        assert dict(store.load(number).parts) == parts


def test_the_newest_are_kept_with_all_they_refer_to(store):
    for number in range(1, 20):
        store.write(number, parts_of(number), {"n": number})
        kept = [info.id for info in store.list()]
        assert kept == list(range(max(1, number - 2), number + 1))
        for each in kept:
            assert dict(store.load(each).parts) == parts_of(each)
    store.write(20, parts_of(20), {})
    referred = {pack for info in store.list() for pack in store.load(info.id).manifest.packs}
    assert set(files(store, ".pack")) == referred


def test_a_store_is_opened_again(tmp_path):
    for number in range(1, 6):
        with CheckpointStore(tmp_path, keep=2) as store:
            assert [info.id for info in store.list()] == list(range(max(1, number - 2), number))
            loaded = store.load()
            big = {"big": b"b" * 5000}
            assert loaded is None or dict(loaded.parts) == parts_of(number - 1) | big
            info = store.write(number, parts_of(number) | big, {})
            assert (info.new_bytes < 5000) == (number > 1)


def test_after_opening_only_what_was_checked_is_referred_to(tmp_path):
    with CheckpointStore(tmp_path) as store:
        store.write(1, {"big": b"b" * 5000}, {})
    with CheckpointStore(tmp_path) as store:  # not loaded, so perhaps damaged
        assert store.write(2, {"big": b"b" * 5000}, {}).new_bytes > 5000


def test_packs_that_are_mostly_out_of_use_are_given_up(tmp_path):
    sizes = []
    with CheckpointStore(tmp_path, keep=1, durability="process") as store:
        for number in range(200):
            # Each part changes every 50 checkpoints: old packs are never wholly out of use.
            parts = {f"{i}": b"%d-%d" % (i, (number + i) // 50) * 200 for i in range(50)}
            store.write(number, parts, {})
            sizes.append(sum(p.stat().st_size for p in tmp_path.glob("*.pack")))
        newest = store.list()[-1]
    assert max(sizes[50:]) < 2.2 * newest.bytes


def test_a_checkpoint_refers_to_a_bounded_number_of_packs(tmp_path):
    parts: dict[str, bytes] = {}
    with CheckpointStore(tmp_path, keep=1, durability="process") as store:
        for number in range(3 * MAX_PACKS):
            parts[f"{number}"] = b"%d" % number * 20
            store.write(number, parts, {})
            assert len(files(store, ".pack")) <= MAX_PACKS + 1
        assert dict(store.load().parts) == parts


def test_a_checkpoint_in_use_stays_readable(store):
    store.write(1, {"a": b"one"}, {})
    parts = store.load().parts
    for number in range(2, 8):
        store.write(number, {"a": b"%d" % number}, {})
    assert parts["a"] == b"one"
    del parts
    store.write(8, {"a": b"8"}, {})
    assert len(files(store, ".pack")) == 3


def test_numbers_are_given_once(store):
    store.write(1, parts_of(1), {})
    with pytest.raises(CheckpointError, match="there is a checkpoint 1 in"):
        store.write(1, parts_of(2), {})
    assert dict(store.load().parts) == parts_of(1)


def test_facts_are_plain_data(store):
    with pytest.raises(CheckpointError, match="plain data"):
        store.write(1, {}, {"what": object()})
    assert files(store) == []


@pytest.mark.parametrize("wrong", [{"keep": 0}, {"durability": "Power"}])
def test_settings_are_checked(tmp_path, wrong):
    with pytest.raises(ConfigError, match="keep >= 1 and durability"):
        CheckpointStore(tmp_path, **wrong)


def test_what_claims_durability_is_synced_in_order(tmp_path, monkeypatch):
    synced: list[str] = []
    fsync = os.fsync

    def record(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", record)
    with CheckpointStore(tmp_path / "a" / "b") as store:
        assert synced == [tmp_path.name, "a"]
        synced.clear()
        store.write(1, parts_of(1), {})
        assert synced == [*files(store, ".pack"), "checkpoint-00000001.tmp", "b"]
        synced.clear()
        store.write(2, parts_of(1), {})
        assert synced == ["checkpoint-00000002.tmp", "b"]
    synced.clear()
    with CheckpointStore(tmp_path / "c", durability="process") as store:
        store.write(1, parts_of(1), {})
    assert synced == []


def test_a_full_disk_leaves_the_store_as_it_was(store):
    store.write(1, parts_of(1), {})
    before = files(store)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            store.write(2, {"big": b"x" * 100_000}, {})
        assert files(store) == before
        with pytest.raises(OSError, match="too large"):
            store.write(2, {"ok": b"x"}, {"long": "x" * 100_000})
        assert files(store) == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.write(2, {"big": b"x" * 100_000}, {})
    assert dict(store.load().parts) == {"big": b"x" * 100_000}


def test_what_a_killed_writer_left_behind_is_removed(tmp_path):
    with CheckpointStore(tmp_path) as store:
        store.write(1, parts_of(1), {})
        sound = files(store)
    for name in ("checkpoint-00000002.tmp", "00000002-aaaaaaaa.pack", "x.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("not ours")
    with CheckpointStore(tmp_path) as store:
        assert files(store) == sorted([*sound, "notes.txt"])


# ---------------------------------------------------------------------- one writer


HOLD = """
import sys
from sage.kernel.checkpoint.store import CheckpointStore
store = CheckpointStore(sys.argv[1])
store.write(len(store.list()) + 1, {"a": b"1"}, {})
print("open", flush=True)
sys.stdin.read()
"""


def test_two_processes_never_write_one_store(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(CheckpointLockedError, match=f"by process {holder.pid};") as caught:
            CheckpointStore(tmp_path)
        assert caught.value.pid == holder.pid
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        with CheckpointStore(tmp_path, read_only=True) as reader:
            assert dict(reader.load().parts) == {"a": b"1"}
        holder.kill()
    with CheckpointStore(tmp_path) as store:  # the system let go of the lock
        assert [info.id for info in store.list()] == [1]
        with pytest.raises(CheckpointLockedError, match="by this process;"):
            CheckpointStore(tmp_path)
    with pytest.raises(CheckpointError, match="closed or read-only"):
        store.write(2, {}, {})


def test_a_reader_follows_the_writer(store):
    with CheckpointStore(store.path, read_only=True) as reader:
        assert reader.load() is None
        for number in range(1, 6):
            store.write(number, parts_of(number), {"n": number})
            assert reader.list() == store.list()
            assert reader.load().facts == {"n": number}
        with pytest.raises(CheckpointError, match="read-only"):
            reader.write(9, {}, {})
    assert files(store, ".json") == [f"checkpoint-{n:08}.json" for n in (3, 4, 5)]


def test_reading_makes_nothing(tmp_path):
    with CheckpointStore(tmp_path / "none", read_only=True) as reader:
        assert reader.load() is None
        assert reader.list() == []
    assert not (tmp_path / "none").exists()


# ---------------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints that share nothing, so that damage to one leaves the other."""
    path = tmp_path_factory.mktemp("sound")
    with CheckpointStore(path, durability="process") as store:
        store.write(1, {"a": b"first", "b": b"one" * 5}, {"n": 1})
        store.write(2, {"a": b"second", "b": b"two" * 5, "empty": b""}, {"n": 2})
    return path


def damaged(sound: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(sound, to)
    return to


def newest(path: Path, suffix: str) -> Path:
    return max(path.glob(f"*{suffix}"))


def assert_falls_back(path: Path, file: Path) -> None:
    with CheckpointStore(path, durability="process") as store:
        with pytest.warns(CheckpointWarning) as caught:
            loaded = store.load()
        assert dict(loaded.parts) == {"a": b"first", "b": b"one" * 5}
        (message,) = [str(each.message) for each in caught]
        assert message.startswith("checkpoint 2 is passed over, going on from checkpoint 1: ")
        assert repr(str(file)) in message
        with pytest.raises(CheckpointError) as error:
            store.load(2)
        assert error.value.file == str(file)
        store.write(3, {"a": b"second", "b": b"two" * 5}, {})
        assert dict(store.load().parts) == {"a": b"second", "b": b"two" * 5}


def test_every_changed_byte_is_noticed(sound, tmp_path):
    for suffix in (".json", ".pack"):
        original = newest(sound, suffix).read_bytes()
        for place in range(len(original)):
            path = damaged(sound, tmp_path / "copy")
            file = newest(path, suffix)
            data = bytearray(original)
            data[place] ^= 1 << place % 8
            file.write_bytes(data)
            reader = CheckpointStore(path, read_only=True)
            with pytest.warns(CheckpointWarning, match="going on from checkpoint 1"):
                assert reader.load().id == 1
    assert_falls_back(path, file)


@pytest.mark.parametrize("suffix", [".json", ".pack"])
@pytest.mark.parametrize("how", ["empty", "cut", "longer", "gone", "folder", "zeros"])
def test_damaged_files_are_named_and_the_checkpoint_before_is_used(sound, tmp_path, suffix, how):
    path = damaged(sound, tmp_path / "copy")
    file = newest(path, suffix)
    data = file.read_bytes()
    if how in ("gone", "folder"):
        file.unlink()
    if how == "folder":
        file.mkdir()
    elif how != "gone":
        new = {"empty": b"", "cut": data[:-1], "longer": data + b"\n", "zeros": bytes(len(data))}
        file.write_bytes(new[how])
    if (suffix, how) == (".json", "gone"):
        with CheckpointStore(path) as store:
            assert store.load().id == 1
    else:
        assert_falls_back(path, file)


def test_unreadable_files_are_named(sound, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path = damaged(sound, tmp_path / "copy")
    newest(path, ".pack").chmod(0)
    assert_falls_back(path, newest(path, ".pack"))


def test_damage_that_happens_after_loading_is_noticed_when_a_part_is_read(sound, tmp_path):
    path = damaged(sound, tmp_path / "copy")
    with CheckpointStore(path) as store:
        loaded = store.load()
        file = newest(path, ".pack")
        file.write_bytes(file.read_bytes().replace(b"second", b"sEcond"))
        assert loaded.parts["b"] == b"two" * 5
        with pytest.raises(CheckpointError, match="6 bytes of part 'a'"):
            loaded.parts["a"]
        file.unlink()
        with pytest.raises(CheckpointError, match="part 'b' cannot be read"):
            loaded.parts["b"]


def test_a_job_does_not_start_over_when_all_checkpoints_are_damaged(sound, tmp_path):
    path = damaged(sound, tmp_path / "copy")
    for file in path.glob("*.pack"):
        file.write_bytes(b"")
    reader = CheckpointStore(path, read_only=True)
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints in .* is sound"):
        reader.load()


def test_damaged_checkpoints_do_not_count_and_stay_while_older_ones_do(tmp_path):
    with CheckpointStore(tmp_path, keep=2) as store:
        for number in (1, 2, 3):
            store.write(number, {"a": b"%d" % number * 9}, {})
    newest(tmp_path, ".pack").write_bytes(b"damaged")
    newest(tmp_path, ".json").write_bytes(b"damaged")
    with CheckpointStore(tmp_path, keep=2) as store:
        with pytest.warns(CheckpointWarning, match="checkpoint 3 is passed over"):
            assert store.load().id == 2
        store.write(4, {"a": b"4"}, {})
        assert files(store, ".json") == [f"checkpoint-{n:08}.json" for n in (2, 3, 4)]
        assert len(files(store, ".pack")) == 3
        store.write(5, {"a": b"5"}, {})
        assert files(store, ".json") == [f"checkpoint-{n:08}.json" for n in (4, 5)]
        assert len(files(store, ".pack")) == 2


def test_the_number_of_an_unreadable_checkpoint_can_be_used_again(sound, tmp_path):
    path = damaged(sound, tmp_path / "copy")
    newest(path, ".json").write_bytes(b"{}")
    with CheckpointStore(path) as store:
        assert [info.id for info in store.list()] == [1]
        store.write(2, {"a": b"new"}, {})
        assert dict(store.load().parts) == {"a": b"new"}


def test_manifests_name_only_files_of_their_folder(sound, tmp_path):
    for name in ("../outside.pack", "/etc/passwd", "a/b.pack", "x.pack\n", ".pack"):
        path = damaged(sound, tmp_path / "copy")
        file = newest(path, ".json")
        manifest, _ = read_manifest(file)
        (pack,) = manifest.packs
        crafted = type(manifest)(
            id=2,
            time=1.0,
            facts={},
            pack_bytes=0,
            packs={name: 20},
            parts={"a": manifest.parts["a"]._replace(pack=name)},
        )
        file.write_bytes(crafted.to_bytes())
        reader = CheckpointStore(path, read_only=True)
        with pytest.raises(CheckpointError, match="not a file of its own folder"):
            reader.load(2)
        assert pack != name


@pytest.mark.parametrize(
    "content",
    [
        b"7",
        b"[]",
        b"{}",
        b'{"format":1}',
        b'{"format":1,"packs":[["x.pack"]],"parts":{}}',
        b'{"format":1,"packs":[["x.pack",9]],"parts":{"a":["h",1,0,0]}}',
        b'{"format":1,"packs":[["x.pack",9]],"parts":{"a":["h",0,-5,0]}}',
        b'{"format":1,"packs":[["x.pack",9]],"parts":{"a":["h",0,"0",0]}}',
        b'{"format":1,"packs":[[1,9]],"parts":{}}',
        b"not json",
    ],
)
def test_well_checked_nonsense_is_named(sound, tmp_path, content):
    path = damaged(sound, tmp_path / "copy")
    file = newest(path, ".json")
    checksum = content_hash(content).encode()
    file.write_bytes(b'{"checksum":"' + checksum + b'","manifest":' + content + b"}\n")
    assert_falls_back(path, file)


def test_another_format_is_named(sound, tmp_path, monkeypatch):
    path = damaged(sound, tmp_path / "copy")
    monkeypatch.setattr("sage.kernel.checkpoint.manifest.FORMAT", 2)
    reader = CheckpointStore(path, read_only=True)
    with pytest.raises(CheckpointError, match=r"has format 1, .* reads format 2"):
        reader.load(2)


# ---------------------------------------------------------------------- any sequence


names = st.sampled_from(["a", "b", "c", "d/e", "ü"])
contents = st.binary(max_size=4) | st.integers(0, 3).map(lambda n: b"%d" % n * 300)
steps = st.lists(
    st.one_of(
        st.dictionaries(names, contents, max_size=5),
        st.sampled_from(["open again", "load", "open again and load"]),
    ),
    max_size=25,
)


@given(steps, st.integers(1, 3))
def test_any_sequence_of_writes_keeps_the_newest(tmp_path_factory, sequence, keep):
    path = tmp_path_factory.mktemp("store")
    written: dict[int, dict[str, bytes]] = {}
    store = CheckpointStore(path, keep=keep, durability="process")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in sequence:
            if isinstance(step, dict):
                number = len(written) + 1
                written[number] = step
                store.write(number, step, {"n": number})
            if "open again" in step and isinstance(step, str):
                store.close()
                store = CheckpointStore(path, keep=keep, durability="process")
            if "load" in step and isinstance(step, str):
                loaded = store.load()
                assert (loaded is None) == (not written)
            expected = sorted(written)[-keep:]
            assert [info.id for info in store.list()] == expected
            for number in expected:
                assert dict(store.load(number).parts) == written[number]
    store.close()
    shutil.rmtree(path)
