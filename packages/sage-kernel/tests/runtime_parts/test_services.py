from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.api.context import RuntimeContext
from sage.api.service import BaseService, ServiceContext
from sage.common.errors import ServiceError
from sage.kernel.runtime.services import ServiceRegistry


class Loop:
    """An event loop in a thread, like the one of a job."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


class Recorder:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def start(self) -> None:
        self.log.append(f"+{self.name}")

    def stop(self) -> None:
        self.log.append(f"-{self.name}")


def context(registry: ServiceRegistry) -> RuntimeContext:
    return RuntimeContext(
        job_id="j", job_name="n", operator="o", uid="u", call_service=registry.call
    )


def test_started_in_order_and_stopped_in_reverse():
    log: list[str] = []
    registry = ServiceRegistry()
    for name in "abc":
        registry.register(name, Recorder, (log, name))
    registry.start()
    registry.stop()
    registry.stop()
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]


def test_the_three_call_styles_and_the_default_method():
    class Echo:
        def process(self, x: int) -> str:
            return f"process {x}"

        def shout(self, x: str, *, mark: str = "!") -> str:
            return x.upper() + mark

    class Execute:
        def execute(self, x: int) -> int:
            return x + 1

    registry = ServiceRegistry()
    registry.register("echo", Echo)
    registry.register("execute", Execute())
    registry.register("made", lambda n: lambda x: x * n, (3,))
    registry.start()
    ctx = context(registry)
    assert ctx.call_service("echo", 1) == "process 1"
    assert ctx.call_service("echo", "a", method="shout", mark="?") == "A?"
    assert ctx.call_service["echo"].shout("a") == "A!"
    assert ctx.service("echo").shout("a", timeout=5) == "A!"
    assert ctx.call_service("execute", 1) == 2
    assert ctx.call_service("made", 2) == 6
    assert ctx.has_service("echo")
    assert not ctx.has_service("nope")
    assert list(registry) == ["echo", "execute", "made"]


def test_unknown_names_suggest_the_nearest():
    class Memory:
        def retrieve(self) -> None: ...

    registry = ServiceRegistry()
    registry.register("memory_service", Memory)
    registry.start()
    with pytest.raises(ServiceError, match="unknown service 'memory_servce'; did you mean 'memory"):
        registry.call("memory_servce")
    with pytest.raises(
        ServiceError, match=r"unknown method 'retreive' of service 'memory_service'"
    ):
        registry.call("memory_service", method="retreive")
    with pytest.raises(ServiceError, match="unknown method '__class__'"):
        registry.call("memory_service", method="__class__")
    with pytest.raises(ServiceError, match="name a method; it has retrieve"):
        registry.call("memory_service")


def test_a_base_service_knows_its_job_and_calls_others():
    class Store(BaseService):
        def __init__(self, size: int) -> None:
            self.size = size
            self.name_at_init = self.ctx.name

        def get(self) -> int:
            return self.size

    class Reader(BaseService):
        def open(self, ctx: ServiceContext) -> None:
            # "store" is registered later: it is started now.
            self.first = self.call_service["store"].get()

        def process(self) -> tuple[Any, ...]:
            return (
                self.first,
                self.ctx.job_name,
                self.ctx.config["k"],
                self.ctx.service("store").get(),
            )

    registry = ServiceRegistry(job_id="1", job_name="job", config={"k": "v"})
    registry.register("reader", Reader)
    registry.register("store", Store, kwargs={"size": 4})
    registry.start()
    assert registry.call("reader") == (4, "job", "v", 4)
    assert registry.get("store").name_at_init == "store"


def test_services_may_call_each_other_once_they_run():
    class Ping(BaseService):
        def process(self, n: int) -> int:
            return n if n == 0 else int(self.call_service("pong", n - 1))

    registry = ServiceRegistry()
    registry.register("ping", Ping)
    registry.register(
        "pong",
        type(
            "Pong",
            (BaseService,),
            {"process": lambda self, n: n if n == 0 else self.call_service("ping", n - 1)},
        ),
    )
    registry.start()
    assert registry.call("ping", 9) == 0


def test_needing_each_other_to_start_is_an_error_that_shows_the_circle():
    def needs(other: str) -> type:
        return type(
            "N",
            (BaseService,),
            {
                "open": lambda self, ctx: self.call_service(other),
                "process": lambda self: None,
            },
        )

    log: list[str] = []
    registry = ServiceRegistry()
    registry.register("first", Recorder, (log, "first"))
    registry.register("a", needs("b"))
    registry.register("b", needs("a"))
    with pytest.raises(ServiceError, match="need each other to start: a -> b -> a"):
        registry.start()
    assert log == ["+first", "-first"]


def test_a_failed_start_names_the_service_and_stops_the_others():
    log: list[str] = []

    def broken() -> None:
        raise OSError("no disk")

    registry = ServiceRegistry()
    registry.register("a", Recorder, (log, "a"))
    registry.register("disk", broken)
    registry.register("c", Recorder, (log, "c"))
    with pytest.raises(ServiceError, match="service 'disk' failed to start: OSError: no disk") as e:
        registry.start()
    assert isinstance(e.value.__cause__, OSError)
    assert log == ["+a", "-a"]
    with pytest.raises(ServiceError, match="'a' has been stopped"):
        registry.call("a")


def test_all_are_stopped_though_one_fails_to():
    log: list[str] = []

    class Bad(Recorder):
        def stop(self) -> None:
            raise ValueError("stuck")

    registry = ServiceRegistry()
    registry.register("a", Recorder, (log, "a"))
    registry.register("b", Bad, (log, "b"))
    registry.register("c", Recorder, (log, "c"))
    registry.start()
    with pytest.raises(ServiceError, match="'b' failed to stop: ValueError: stuck"):
        registry.stop()
    assert log[3:] == ["-c", "-a"]


def test_open_that_is_not_a_life_cycle_is_left_alone(tmp_path: Path):
    registry = ServiceRegistry()
    registry.register("path", tmp_path / "missing")
    registry.start()
    assert registry.call("path", method="exists") is False
    registry.stop()


def test_a_time_limit_names_service_and_method():
    release = threading.Event()

    class Slow:
        def work(self) -> str:
            release.wait()
            return "done"

        def own(self) -> None:
            raise TimeoutError("its own")

    registry = ServiceRegistry()
    registry.register("slow", Slow)
    registry.start()
    with pytest.raises(ServiceError, match=r"'work' of service 'slow' .* within 0.02 s") as e:
        registry.call("slow", method="work", timeout=0.02)
    assert e.value.service == "slow"
    assert e.value.method == "work"
    release.set()
    assert registry.call("slow", method="work", timeout=60) == "done"
    for timeout in (None, 60):
        with pytest.raises(TimeoutError, match="its own") as own:
            registry.call("slow", method="own", timeout=timeout)
        assert own.value.__notes__ == ["raised by method 'own' of service 'slow'"]


def test_errors_of_a_service_come_through_as_they_are():
    class Bad:
        def process(self) -> None:
            raise KeyError("k")

    registry = ServiceRegistry()
    registry.register("bad", Bad)
    registry.start()
    with pytest.raises(KeyError) as e:
        registry.call("bad")
    assert e.value.__notes__ == ["raised by method 'process' of service 'bad'"]


class Async(BaseService):
    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()

    async def process(self, x: int) -> int:
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is self.loop
        return x * 2

    async def forever(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:  # type: ignore[override]
        self.closed = True


def test_async_services_answer_threads_and_coroutines(loop: Loop):
    registry = ServiceRegistry(async_runner=loop.run)
    registry.register("a", Async)
    registry.start()
    assert registry.call("a", 4) == 8
    assert registry.call("a", 4, timeout=60) == 8

    async def inside() -> Any:
        return await registry.call("a", 5), await registry.call("a", 6, timeout=60)

    assert loop.run(inside()) == (10, 12)
    with pytest.raises(ServiceError, match="'forever' of service 'a' did not answer within"):
        registry.call("a", method="forever", timeout=0.01)

    async def too_late() -> None:
        await registry.call("a", method="forever", timeout=0.01)

    with pytest.raises(ServiceError, match="did not answer within"):
        loop.run(too_late())
    service = registry.get("a")
    registry.stop()
    assert service.closed


def test_an_async_method_without_a_loop_is_an_error():
    class A:
        async def process(self) -> None: ...

    registry = ServiceRegistry()
    registry.register("a", A)
    registry.start()
    with pytest.raises(ServiceError, match="is async, but this job has no event loop"):
        registry.call("a")


def test_wrong_registrations_are_refused():
    registry = ServiceRegistry()
    registry.register("a", dict)
    with pytest.raises(ServiceError, match="'a' is registered already"):
        registry.register("a", dict)
    with pytest.raises(ServiceError, match="needs a name"):
        registry.register("", dict)
    with pytest.raises(ServiceError, match="has not started yet"):
        registry.call("a")
    registry.register("none", lambda: None)
    with pytest.raises(
        ServiceError, match="'none' failed to start: TypeError: its factory returned"
    ):
        registry.start()


def test_calls_from_many_threads_reach_one_instance():
    class Counter:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.n = 0

        def process(self) -> None:
            with self.lock:
                self.n += 1

    registry = ServiceRegistry()
    registry.register("c", Counter)
    registry.start()
    threads = [
        threading.Thread(target=lambda: [registry.call("c") for _ in range(100)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.get("c").n == 800
