"""Real worker processes: outcomes, errors, deaths, cancel, orphans."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest

from sage.api.context import RuntimeContext
from sage.api.functions import FilterFunction, FlatMapFunction, MapFunction
from sage.common.errors import GraphError, JobCanceledError, ServiceError, StepTimeoutError
from sage.kernel.graph.model import FunctionSpec
from sage.kernel.runtime.process import (
    ProcessPool,
    RemoteError,
    RemoteTraceback,
    TransferError,
    WorkerDiedError,
)


@attrs.frozen
class Point:
    x: int


class Unpicklable(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Scale(MapFunction[Any, Any]):
    def __init__(self, factor: int, marks: str = "") -> None:
        self.factor = factor
        self.marks = marks

    def open(self, ctx: RuntimeContext) -> None:
        self.mark(f"open {ctx.subtask}/{ctx.parallelism} {ctx.operator}")

    def execute(self, item: Any) -> Any:
        return item * self.factor

    def close(self) -> None:
        self.mark("close")

    def mark(self, text: str) -> None:
        if self.marks:
            with Path(self.marks).open("a") as file:
                file.write(text + "\n")


def values(outcomes: list[tuple[bool, Any]]) -> list[Any]:
    assert all(ok for ok, _ in outcomes), outcomes
    return [value for _, value in outcomes]


def errors(outcomes: list[tuple[bool, Any]]) -> list[Any]:
    assert not any(ok for ok, _ in outcomes), outcomes
    return [value for _, value in outcomes]


def wait_gone(pid: int) -> None:
    """Until no process has this id (grandchildren are reaped by init)."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 30)[0], f"process {pid} is still there"
    finally:
        os.close(fd)


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_results_in_order_with_the_function_open_in_each_worker(tmp_path: Path):
    marks = tmp_path / "marks"
    with ProcessPool(
        FunctionSpec(Scale, (3,), {"marks": str(marks)}), workers=2, operator="scale"
    ) as pool:
        assert values(pool.call(0, list(range(10)))) == list(range(0, 30, 3))
        assert values(pool.call(1, [1, "a", (2,), Point])[:3]) == [3, "aaa", (2, 2, 2)]
        assert pool.call(1, []) == []
        pids = pool.pids
        assert len({*pids, os.getpid(), None}) == 4
        assert all(seconds is not None and seconds > 0 for seconds in pool.startup_seconds)
    assert sorted(marks.read_text().split("\n")[:-1]) == [
        "close",
        "close",
        "open 0/2 scale",
        "open 1/2 scale",
    ]
    assert not any(running(pid) for pid in pids)


def test_lambdas_closures_partials_and_classes_of_unimportable_modules():
    offset = 5
    with ProcessPool(lambda x: Point(x.x + offset), workers=1) as pool:
        assert values(pool.call(0, [Point(1), Point(2)])) == [Point(6), Point(7)]


def test_items_go_unchanged_whatever_their_type():
    items = [1, "a", None, (1, (2,)), {"k": [1.5]}, {1: 2}, Point(3), 2**70, "\ud800", b"\x00", {4}]
    with ProcessPool(lambda x: x, workers=1) as pool:
        back = values(pool.call(0, items))
    assert back == items
    assert [type(x) for x in back] == [type(x) for x in items]


def test_large_items_pass():
    with ProcessPool(lambda x: x[::-1], workers=1) as pool:
        big = os.urandom(8_000_000)
        assert values(pool.call(0, [big, b"ab"])) == [big[::-1], b"ba"]


def test_filter_and_flatmap():
    class Even(FilterFunction[int]):
        def execute(self, item: int) -> Any:
            return item % 2 == 0 and "yes"

    class Spell(FlatMapFunction[int, int]):
        def execute(self, item: int) -> Any:
            if item == 0:
                return None
            if item == 3:
                self.collect(33)
                return None
            return (item for _ in range(item))

    with ProcessPool(FunctionSpec(Even), workers=1, kind="filter") as pool:
        assert values(pool.call(0, [1, 2])) == [False, True]
    with ProcessPool(FunctionSpec(Spell), workers=1, kind="flatmap") as pool:
        assert values(pool.call(0, [0, 2, 3])) == [[], [2, 2], [33]]


def test_async_functions_run_in_the_worker():
    async def double(x: int) -> int:
        import asyncio

        await asyncio.sleep(0)
        return 2 * x

    with ProcessPool(double, workers=1) as pool:
        assert values(pool.call(0, [1, 2])) == [2, 4]


def test_execute_batch_is_called_once_per_batch_and_fails_as_a_whole():
    class Batch(MapFunction[int, Any]):
        calls = 0

        def execute_batch(self, items: list[int]) -> list[Any]:
            self.calls += 1
            if 0 in items:
                return [1]
            return [(item, self.calls) for item in items]

    with ProcessPool(FunctionSpec(Batch), workers=1) as pool:
        assert values(pool.call(0, [1, 2])) == [(1, 1), (2, 1)]
        failed = errors(pool.call(0, [0, 5]))
        assert "one result per item: got 1 results for 2 items" in str(failed[1])


def test_an_error_concerns_its_item_only_and_keeps_type_data_and_traceback():
    def divide(x: int) -> float:
        return 1 / x

    with ProcessPool(divide, workers=1) as pool:
        outcomes = pool.call(0, [1, 0, 2])
    assert [ok for ok, _ in outcomes] == [True, False, True]
    error = outcomes[1][1]
    assert type(error) is ZeroDivisionError
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "return 1 / x" in str(error.__cause__)


def test_errors_that_cannot_be_pickled_keep_their_name_and_text():
    def fail(x: int) -> None:
        if x == 0:
            raise Unpicklable(7, "odd one")
        if x == 1:
            raise SystemExit("leaving")
        error = ValueError("holds a lock")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    with ProcessPool(fail, workers=1) as pool:
        odd, leaving, lock = errors(pool.call(0, [0, 1, 2]))
        assert pool.call(0, [0])[0][0] is False
    assert isinstance(odd, RemoteError)
    assert odd.original_type.endswith("Unpicklable")
    assert "odd one" in str(odd)
    assert "SystemExit: leaving" in str(leaving)
    assert "builtins.ValueError: holds a lock" in str(lock)
    assert "raise error" in str(lock.__cause__)


def test_what_cannot_be_sent_concerns_its_item_only():
    with ProcessPool(lambda x: (i for i in ()) if x == 1 else x, workers=1) as pool:
        outcomes = pool.call(0, [0, 1, 2, threading.Lock(), 4])
    assert [ok for ok, _ in outcomes] == [True, False, True, False, True]
    assert isinstance(outcomes[1][1], TransferError)
    assert "result of type 'generator' cannot be sent" in str(outcomes[1][1])
    assert isinstance(outcomes[3][1], TransferError)
    assert "item of type 'lock' cannot be sent" in str(outcomes[3][1])


def test_services_are_out_of_reach_and_the_error_says_what_to_do():
    class Asks(MapFunction[Any, Any]):
        def execute(self, item: Any) -> Any:
            return self.call_service(item)

    with ProcessPool(FunctionSpec(Asks), workers=1, operator="asks") as pool:
        (error,) = errors(pool.call(0, ["memory"]))
    assert type(error) is ServiceError
    assert "executor='thread'" in str(error)
    assert "'memory'" in str(error)


def test_a_function_that_cannot_be_sent_is_refused_before_anything_runs():
    lock = threading.Lock()
    with pytest.raises(
        GraphError, match=r"step 'locked' .* open files, locks and connections in op"
    ):
        ProcessPool(lambda x: lock, workers=1, operator="locked")
    with pytest.raises(GraphError, match="kind 'join' cannot run with executor='process'"):
        ProcessPool(abs, workers=1, kind="join")
    with pytest.raises(GraphError, match="at least one worker"):
        ProcessPool(abs, workers=0)


def test_an_error_in_open_or_close_is_raised():
    class NoOpen(MapFunction[Any, Any]):
        def open(self, ctx: RuntimeContext) -> None:
            raise LookupError("no model file")

    class NoClose(MapFunction[Any, Any]):
        def execute(self, item: Any) -> Any:
            return item

        def close(self) -> None:
            raise LookupError("cannot close")

    pool = ProcessPool(FunctionSpec(NoOpen), workers=1)
    with pytest.raises(LookupError, match="no model file") as e:
        pool.call(0, [1])
    assert "in open" in str(e.value.__cause__)
    pool.close()
    pool = ProcessPool(FunctionSpec(NoClose), workers=2)
    assert values(pool.call(0, [1])) == [1]
    pids = pool.pids
    with pytest.raises(LookupError, match="cannot close"):
        pool.close()
    assert not any(running(pid) for pid in pids if pid)


def test_a_killed_worker_is_named_and_only_what_it_had_begun_is_lost(tmp_path: Path):
    seen = tmp_path / "seen"

    def work(x: int) -> int:
        with seen.open("a") as file:
            file.write(f"{x}\n")
        if x == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return -x

    with ProcessPool(work, workers=1, operator="work") as pool:
        pool.call(0, [0])
        pid = pool.pids[0]
        outcomes = pool.call(0, [1, 2, 3, 4, 5])
        assert pool.pids[0] != pid
    assert [ok for ok, _ in outcomes] == [False, False, False, True, True]
    assert [value for _, value in outcomes[3:]] == [-4, -5]
    died = [error for _, error in outcomes[:3]]
    assert all(type(error) is WorkerDiedError for error in died)
    assert [error.culprit for error in died] == [False, False, True]
    assert died[2].signal == "SIGKILL"
    assert died[2].pid == pid
    assert f"step 'work': worker process {pid} was killed by SIGKILL" in str(died[2])
    assert seen.read_text().split() == ["0", "1", "2", "3", "4", "5"]


def test_a_worker_killed_from_outside_while_idle_loses_nothing():
    with ProcessPool(abs, workers=1) as pool:
        pool.call(0, [1])
        pid = pool.pids[0]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        outcomes = pool.call(0, [-1])
        assert outcomes == [(True, 1)]


def test_a_vectorised_batch_is_lost_as_a_whole_and_not_run_again(tmp_path: Path):
    class Batch(MapFunction[int, int]):
        def execute_batch(self, items: list[int]) -> list[int]:
            with (tmp_path / "calls").open("a") as file:
                file.write("call\n")
            os.kill(os.getpid(), signal.SIGKILL)
            return items

    with ProcessPool(FunctionSpec(Batch), workers=1) as pool:
        died = errors(pool.call(0, [1, 2, 3]))
    assert [(error.started, error.culprit) for error in died] == [(True, False)] * 3
    assert "before the results of its batch were handed over" in str(died[0])
    assert (tmp_path / "calls").read_text() == "call\n"


def test_an_item_that_kills_every_worker_that_reads_it_is_reported():
    with ProcessPool(lambda x: x, workers=1) as pool:
        died = errors(pool.call(0, [Fatal(), 1]))
    assert all("before it had begun this item" in str(error) for error in died)


class Fatal:
    def __reduce__(self) -> Any:
        return (_die, ())


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_exits_is_reported_with_its_status():
    with ProcessPool(lambda x: os._exit(7), workers=1) as pool:
        (error,) = errors(pool.call(0, [1]))
    assert "exited with status 7 while it worked on this item" in str(error)
    assert error.exit_code == 7


def test_a_worker_that_dies_while_opening_is_an_error():
    class Dies(MapFunction[Any, Any]):
        def open(self, ctx: RuntimeContext) -> None:
            os.kill(os.getpid(), signal.SIGSEGV)

    pool = ProcessPool(FunctionSpec(Dies), workers=1)
    with pytest.raises(WorkerDiedError, match=r"killed by SIGSEGV \(a crash in native code\)"):
        pool.call(0, [1])
    pool.close()


def test_an_item_over_its_time_is_reported_and_the_next_ones_run():
    def work(x: int) -> int:
        if x == 1:
            threading.Event().wait()
        return x

    with ProcessPool(work, workers=1, operator="slow") as pool:
        outcomes = pool.call(0, [0, 1, 2], timeout=1.5)
    assert [ok for ok, _ in outcomes] == [True, False, True]
    assert isinstance(outcomes[1][1], StepTimeoutError)
    assert "'slow': an item took longer than 1.5 s" in str(outcomes[1][1])


def test_cancel_interrupts_python_code_closes_the_function_and_wakes_the_caller(tmp_path: Path):
    marks = tmp_path / "marks"

    class Busy(MapFunction[Any, Any]):
        def execute(self, item: Any) -> Any:
            (tmp_path / "started").touch()
            while True:
                pass

        def close(self) -> None:
            marks.write_text("closed")

    pool = ProcessPool(FunctionSpec(Busy), workers=2)
    pool.start()
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(pool.call, index, [1, 2]) for index in range(2)]
        until((tmp_path / "started").exists)
        pids = pool.pids
        pool.cancel()
        for call in calls:
            with pytest.raises(JobCanceledError, match="were canceled"):
                call.result(30)
    assert marks.read_text() == "closed"
    assert not any(running(pid) for pid in pids if pid)
    with pytest.raises(JobCanceledError):
        pool.call(0, [1])
    pool.close()


def until(condition: Any) -> None:
    """Wait for another process to get somewhere (which has no way to notify this one)."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_cancel_kills_what_ignores_it_with_its_children(tmp_path: Path):
    child_file = tmp_path / "child"

    def stubborn(x: int) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        child_file.write_text(str(child.pid))
        child_file.rename(tmp_path / "named")
        child.wait()

    pool = ProcessPool(stubborn, workers=1)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(pool.call, 0, [1])
        until((tmp_path / "named").exists)
        pool.cancel(grace=0.05)
        with pytest.raises(JobCanceledError):
            call.result(30)
    pool.close()
    wait_gone(int((tmp_path / "named").read_text()))


SCRIPT = """
import os, sys, threading, attrs
from sage.kernel.runtime.process import ProcessPool

print("imported", flush=True)

@attrs.frozen
class Item:
    n: int

class Bad(Exception):
    pass

def work(item):
    if item.n == 0:
        raise Bad("zero")
    if item.n == 9:
        print("busy", os.getpid(), flush=True)
        threading.Event().wait()
    return Item(item.n + 1)

pool = ProcessPool(work, workers=2)
for index in range(2):
    assert pool.call(index, [Item(1), Item(2)]) == [(True, Item(2)), (True, Item(3))]
ok, error = pool.call(0, [Item(0)])[0]
assert not ok and type(error) is Bad, error
print("pids", *pool.pids, flush=True)
if sys.argv[1:] == ["hang"]:
    pool.call(0, [Item(9)])
pool.close()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def test_a_script_needs_no_main_guard_and_its_classes_keep_their_identity(script: Path):
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("imported") == 1


def test_workers_end_when_the_parent_is_killed_even_if_busy(script: Path):
    with subprocess.Popen(
        [sys.executable, str(script), "hang"], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        lines: dict[str, list[int]] = {}
        while "busy" not in lines:
            word, *numbers = parent.stdout.readline().split()
            lines[word] = [int(n) for n in numbers]
        assert lines["busy"][0] in lines["pids"]
        parent.kill()
        parent.wait()
    for pid in lines["pids"]:
        wait_gone(pid)


def test_threads_of_the_parent_do_not_matter_and_none_is_left():
    before = set(threading.enumerate())
    stop = threading.Event()
    lock = threading.Lock()

    def hold() -> None:
        while not stop.is_set():
            with lock:
                pass

    noise = threading.Thread(target=hold)
    noise.start()
    try:
        with ProcessPool(lambda x: x + 1, workers=2) as pool, ThreadPoolExecutor(2) as threads:
            calls = [
                threads.submit(lambda i=i: [values(pool.call(i, [n] * 20)) for n in range(20)])
                for i in range(2)
            ]
            for call in calls:
                assert call.result(60) == [[n + 1] * 20 for n in range(20)]
    finally:
        stop.set()
        noise.join()
    assert set(threading.enumerate()) <= before


def test_workers_use_one_thread_for_linear_algebra():
    def setting(name: str) -> str | None:
        return os.environ.get(name)

    with ProcessPool(setting, workers=1) as pool:
        assert values(pool.call(0, ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"])) == ["1", "1"]


def test_no_descriptors_are_left_open():
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with ProcessPool(abs, workers=1) as pool:
        pool.call(0, [1])
    before = count()
    for _ in range(2):
        with ProcessPool(lambda x: os._exit(1), workers=1) as pool:
            pool.call(0, [1])
            pool.call(0, [1])
    assert count() == before


def test_a_module_of_the_folder_is_not_what_a_process_boots_with(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app/main.py").write_text(
        "from sage.api import LocalEnvironment\n"
        "env = LocalEnvironment('shadowed')\n"
        "env.from_collection([1, 2]).map(abs, executor='process').print()\n"
        "env.submit().wait()\n"
    )
    done = subprocess.run(
        [sys.executable, "app/main.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("1\n2\n", 0), done.stderr
