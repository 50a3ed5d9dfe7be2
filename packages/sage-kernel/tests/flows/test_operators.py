"""Every operator of the fluent API, on every setting."""

from __future__ import annotations

import asyncio
import threading

import pytest

from sage.api import CoMapFunction, JoinFunction, ProcessFunction
from sage.common.errors import TaskFailedError


class Gate:
    """Lets a source wait until the flow has come to a point."""

    def __init__(self):
        self.event = threading.Event()

    def open(self):
        self.event.set()

    def wait(self):
        assert self.event.wait(30)


def test_map_keeps_none(run_flow):
    run = run_flow(lambda e, out: e.from_source([1, None, 2]).map(lambda x: x).sink(out.append))
    assert run.out == [1, None, 2]


def test_flatmap_of_everything_iterable(run_flow):
    results = [[1, 2], (3,), None, [], iter([4, 5]), {6: 0}, "ab", range(2)]
    run = run_flow(
        lambda e, out: e.from_source(range(8)).flatmap(results.__getitem__).sink(out.append)
    )
    assert run.out == [1, 2, 3, 4, 5, 6, "a", "b", 0, 1]


def test_filter_uses_truth(run_flow):
    run = run_flow(
        lambda e, out: e.from_source([0, 1, "", "x", [], [0]]).filter(lambda x: x).sink(out.append)
    )
    assert run.out == [1, "x", [0]]


@pytest.mark.parametrize("n", [0, 1, 7, 3000])
def test_long_and_short_chains(run_flow, n):
    def build(e, out):
        s = e.from_source(range(n)).map(lambda x: x + 1).map(lambda x: x * 2)
        s.filter(lambda x: x % 3).map(lambda x: x - 1).sink(out.append)

    assert run_flow(build).out == [(x + 1) * 2 - 1 for x in range(n) if (x + 1) * 2 % 3]


def test_diamonds_and_nested_unions(run_flow):
    def build(e, out):
        s = e.from_source(range(60))
        a, b = s.map(lambda x: x + 1000), s.filter(lambda x: x % 2)
        c = a.union(b)
        d = c.union(s, a).map(lambda x: x)
        d.union(c).sink(out.append)

    a = [x + 1000 for x in range(60)]
    c = a + [x for x in range(60) if x % 2]
    assert sorted(run_flow(build).out) == sorted(c + list(range(60)) + a + c)


def test_union_keeps_each_stream_in_order(run_flow):
    def build(e, out):
        a = e.from_source([("a", i) for i in range(300)])
        a.union(e.from_source([("b", i) for i in range(300)])).map(lambda x: x).sink(out.append)

    out = run_flow(build).out
    for name in "ab":
        assert [i for n, i in out if n == name] == list(range(300))


def test_union_of_a_stream_with_itself(run_flow):
    def build(e, out):
        s = e.from_source(range(10))
        s.union(s).sink(out.append)

    assert sorted(run_flow(build).out) == sorted([*range(10), *range(10)])


class Named(CoMapFunction):
    def map1(self, item):
        return "left", item

    def map2(self, item):
        return "right", item


@pytest.mark.parametrize("how", ["class", "callables", "async"])
def test_comap(run_flow, how):
    async def right(x):
        await asyncio.sleep(0)
        return "right", x

    async def left(x):
        return "left", x

    steps = {
        "class": (Named,),
        "callables": (lambda x: ("left", x), lambda x: ("right", x)),
        "async": (left, right),
    }[how]

    def build(e, out):
        e.from_source(range(40)).connect(e.from_source(list("abc"))).comap(*steps).sink(out.append)

    out = run_flow(build).out
    assert [x for side, x in out if side == "left"] == list(range(40))
    assert [x for side, x in out if side == "right"] == list("abc")


LEFT = [(k, i) for i, k in enumerate("aabcda")]
RIGHT = [(k, -i) for i, k in enumerate("abbxa")]


def pairs(how, match):
    lefts, rights = {}, {}
    for k, v in LEFT:
        lefts.setdefault(k, []).append((k, v))
    for k, v in RIGHT:
        rights.setdefault(k, []).append((k, v))
    out = []
    for k in {*lefts, *rights}:
        a, b = lefts.get(k, []), rights.get(k, [])
        if match == "all":
            out += [(x, y) for x in a for y in b]
            alone = (a if not b else [], b if not a else [])
        else:
            out += list(zip(a, b, strict=False))
            alone = (a[len(b) :], b[len(a) :])
        if how in ("left", "outer"):
            out += [(x, None) for x in alone[0]]
        if how in ("right", "outer"):
            out += [(None, y) for y in alone[1]]
    return sorted(out, key=repr)


@pytest.mark.parametrize("match", ["all", "one"])
@pytest.mark.parametrize("how", ["inner", "left", "right", "outer"])
@pytest.mark.parametrize("parallelism", [1, 2])
def test_joins(run_flow, how, match, parallelism):
    def build(e, out):
        a = e.from_source(LEFT).key_by(lambda x: x[0])
        b = e.from_source(RIGHT).key_by(lambda x: x[0])
        a.connect(b).join(how=how, match=match, parallelism=parallelism).sink(out.append)

    assert sorted(run_flow(build).out, key=repr) == pairs(how, match)


class Sum(JoinFunction):
    def execute(self, left, right):
        return left + right


def test_join_with_a_class_behind_one_source(run_flow):
    def build(e, out):
        s = e.from_source(range(50))
        a = s.map(lambda x: x).key_by(lambda x: x)
        b = s.map(lambda x: x * 100).key_by(lambda x: x // 100)
        a.connect(b).join(Sum).sink(out.append)

    assert sorted(run_flow(build).out) == [x * 101 for x in range(50)]


def test_windowed_join_forgets(run_once):
    """The right side comes after the window of the left one: no pair."""
    met = Gate()

    def right():
        met.wait()
        yield 1

    def build(e, out):
        left = e.from_source([1]).key_by(lambda x: x)
        joined = left.connect(e.from_source(right).key_by(lambda x: x)).join(
            how="left", window=0.02
        )

        def take(pair):
            out.append(pair)
            met.open()

        joined.sink(take)

    assert run_once(build).out == [(1, None)]


def test_route_with_default(run_flow):
    def build(e, out):
        r = e.from_source(range(30)).route(lambda x: ("a", "b", "other")[x % 3])
        r["a"].sink(lambda x: out.append(("a", x)))
        r["b"].map(lambda x: x).sink(lambda x: out.append(("b", x)))
        r.default.sink(lambda x: out.append(("rest", x)))

    expected = [(("a", "b", "rest")[x % 3], x) for x in range(30)]
    assert sorted(run_flow(build).out) == sorted(expected)


def test_an_unknown_route_fails_with_the_item(run_flow):
    def build(e, out):
        r = e.from_source(range(5), uid="n").route(lambda x: "a" if x < 3 else "nowhere", name="by")
        r["a"].sink(out.append)

    run = run_flow.failing(build)
    assert isinstance(run.error, TaskFailedError)
    assert (run.error.operator, run.error.item_id, run.out) == ("by", "n:3", [0, 1, 2])
    assert "'nowhere'" in str(run.error)


def test_split_and_branch(run_flow):
    def build(e, out):
        small, large, rest = e.from_source(range(30)).split(lambda x: x < 5, lambda x: x > 20)
        small.branch(
            lambda s: s.sink(lambda x: out.append(("small", x))),
            lambda s: s.map(lambda x: -x).sink(lambda x: out.append(("minus", x))),
        )
        large.union(rest).sink(lambda x: out.append(("more", x)))

    out = run_flow(build).out
    assert [x for name, x in out if name == "small"] == list(range(5))
    assert [x for name, x in out if name == "minus"] == [-x for x in range(5)]
    assert sorted(x for name, x in out if name == "more") == list(range(5, 30))


def test_fallback_takes_the_first_that_works(run_flow):
    def odd_only(x):
        if x % 2 == 0:
            raise ValueError(x)
        return "odd", x

    async def not_four(x):
        if x == 4:
            raise ValueError(x)
        return "even", x

    def build(e, out):
        e.from_source(range(6)).fallback(odd_only, not_four, lambda x: ("last", x)).sink(out.append)

    expected = ["even", "odd", "even", "odd", "last", "odd"]
    assert run_flow(build).out == [(name, x) for x, name in enumerate(expected)]


async def later(x):
    await asyncio.sleep(0)
    return x * 2


@pytest.mark.parametrize("body", [lambda s: s.map(lambda x: x * 2), lambda s: s.map(later)])
def test_iterate(run_flow, body):
    def build(e, out):
        e.from_source(range(50)).iterate(body, until=lambda x: x > 1000, max_iterations=8).sink(
            out.append
        )

    def result(x):
        for _ in range(8):
            x *= 2
            if x > 1000:
                break
        return x

    assert sorted(run_flow(build).out) == sorted(result(x) for x in range(50))


def test_iterate_with_a_larger_body_and_async_until(run_flow):
    async def enough(x):
        return x >= 40

    def build(e, out):
        def body(s):
            even, odd = s.split(lambda x: x % 2 == 0)
            return even.map(lambda x: x + 1).union(odd.map(lambda x: x + 3))

        e.from_source(range(30)).iterate(body, until=enough, max_iterations=100).sink(out.append)

    out = run_flow(build).out
    assert len(out) == 30
    assert all(40 <= x <= 43 for x in out)


def test_feedback(run_flow):
    def build(e, out):
        back = e.from_future("back")
        small, large = (
            e.from_source(range(20)).union(back).map(lambda x: x + 7).split(lambda x: x < 50)
        )
        e.fill_future(back, small)
        large.sink(out.append)

    out = run_flow(build).out
    assert len(out) == 20
    assert all(50 <= x < 57 for x in out)


def test_feedback_that_comes_back_too_often(run_flow):
    def build(e, out):
        back = e.from_future("back", max_items=10)
        again, rest = e.from_source(range(3)).union(back).split(lambda x: True)
        e.fill_future(back, again)
        rest.sink(out.append)

    run = run_flow.failing(build)
    assert isinstance(run.error, TaskFailedError)
    assert "max_items=10" in str(run.error)


def test_count_windows(run_flow):
    run = run_flow(lambda e, out: e.from_source(range(8)).window(count=3).sink(out.append))
    assert run.out == [[0, 1, 2], [3, 4, 5], [6, 7]]
    run = run_flow(
        lambda e, out: e.from_source(range(7)).window(sum, count=4, slide=2).sink(out.append)
    )
    assert run.out == [0 + 1 + 2 + 3, 2 + 3 + 4 + 5, 4 + 5 + 6]
    run = run_flow(
        lambda e, out: (
            e.from_source(range(10)).key_by(lambda x: x % 2).window(count=3).sink(out.append)
        )
    )
    assert sorted(run.out) == [[0, 2, 4], [1, 3, 5], [6, 8], [7, 9]]


def test_time_windows_hold_every_item_once(run_flow):
    run = run_flow(lambda e, out: e.from_source(range(500)).window(seconds=0.005).sink(out.append))
    assert [x for window in run.out for x in window] == list(range(500))


def test_a_time_window_closes_while_the_source_waits(run_flow):
    closed = Gate()

    def source():
        yield 1
        closed.wait()
        yield 2

    def build(e, out):
        def take(window):
            out.append(window)
            closed.open()

        e.from_source(source).window(seconds=0.01).sink(take)

    assert run_flow(build).out == [[1], [2]]


def test_batches(run_flow):
    run = run_flow(lambda e, out: e.from_source(range(10)).batch(4).sink(out.append))
    assert run.out == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_batch_does_not_wait_longer_than_its_timeout(run_flow):
    seen = Gate()

    def source():
        yield from (1, 2)
        seen.wait()
        yield 3

    def build(e, out):
        def take(batch):
            out.append(batch)
            if sum(map(len, out)) == 2:
                seen.open()

        e.from_source(source).batch(100, timeout=0.01).sink(take)

    out = run_flow(build).out
    assert [x for batch in out for x in batch] == [1, 2, 3]
    assert out[-1] == [3]


class Remind(ProcessFunction):
    """Counts per key; says the count a moment after the last item of the key."""

    def open(self, ctx):
        self.count = ctx.value_state("count", 0)

    def process(self, item):
        self.count.value = self.count.value + 1
        self.ctx.register_timer_in(0.01)
        yield "item", self.ctx.key, self.count.value

    def on_timer(self, timestamp):
        return [("timer", self.ctx.key, self.count.value)]


@pytest.mark.parametrize("parallelism", [1, 3])
def test_process_with_timers(run_flow, parallelism):
    fired = Gate()

    def source():
        yield from range(9)
        fired.wait()
        yield 9

    def build(e, out):
        def take(x):
            out.append(x)
            if x[0] == "timer":
                fired.open()

        keyed = e.from_source(source).key_by(lambda x: x % 3)
        keyed.process(Remind, parallelism=parallelism).sink(take)

    out = run_flow(build).out
    items = [(k, n) for what, k, n in out if what == "item"]
    assert sorted(items) == sorted((x % 3, x // 3 + 1) for x in range(10))
    assert {k for what, k, _ in out if what == "timer"} == {0, 1, 2}


def test_reduce_and_aggregate(run_flow):
    def build(e, out):
        s = e.from_source(range(1, 7))
        s.reduce(lambda a, x: a * x).sink(lambda x: out.append(("product", x)))
        keyed = s.key_by(lambda x: x % 2)
        keyed.reduce(lambda a, x: a + x).sink(lambda x: out.append(("sum", x)))
        keyed.aggregate([], lambda a, x: [*a, x]).sink(lambda x: out.append(("all", x)))

    out = run_flow(build).out
    assert [x for n, x in out if n == "product"] == [1, 2, 6, 24, 120, 720]
    assert [x for n, x in out if n == "sum"] == [1, 2, 4, 6, 9, 12]
    assert [x for n, x in out if n == "all"][-2:] == [[1, 3, 5], [2, 4, 6]]


def test_print(run_flow, capsys):
    run_flow(lambda e, out: e.from_source(range(5)).print("n=", limit=3))
    assert capsys.readouterr().out.splitlines()[:3] == ["n=0", "n=1", "n=2"]


def test_sources_of_every_kind(run_flow):
    def numbers(n):
        yield from range(n)

    async def later_numbers():
        for i in range(5):
            await asyncio.sleep(0)
            yield i

    values = iter([0, 1, None, 2])

    def poll():
        from sage.api import StopSignal

        return next(values, StopSignal)

    def build(e, out):
        e.from_source(numbers, 5).sink(lambda x: out.append(("generator", x)))
        e.from_source(later_numbers).sink(lambda x: out.append(("async", x)))
        e.from_source(poll).sink(lambda x: out.append(("poll", x)))
        e.from_collection({3: 0, 4: 0}.keys()).sink(lambda x: out.append(("keys", x)))
        e.from_batch([1, 2]).sink(lambda x: out.append(("batch", x)))

    out = run_flow(build).out
    got = {name: [x for n, x in out if n == name] for name in dict.fromkeys(n for n, _ in out)}
    assert got == {
        "generator": [0, 1, 2, 3, 4],
        "async": [0, 1, 2, 3, 4],
        "poll": [0, 1, 2],
        "keys": [3, 4],
        "batch": [1, 2],
    }
