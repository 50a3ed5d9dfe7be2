"""Inlining never changes what a step means."""

from __future__ import annotations

import functools
import itertools
import linecache
import logging
import sys
import threading
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.api import LocalEnvironment, MapFunction, RetryPolicy
from sage.kernel.compiler.inline import inline_body
from sage.kernel.runtime.sync_task import HOT

N = HOT * 3
factor = 2
log = logging.getLogger(__name__)


def run(function, kind="map", items=None, **config):
    out = []
    env = LocalEnvironment("inline", config)
    s = env.from_source(range(N) if items is None else items)
    getattr(s, kind)(function).sink(out.append)
    env.submit().wait(20)
    return out


def uses_global(x):
    return x * factor


def test_a_simple_lambda_is_inlined():
    found = inline_body(lambda x: x + 1, 0)
    assert found is not None
    assert found.value("v1").replace(" ", "") == "(v1+1)"


def with_default(x, y=1):
    return x + y


def with_star(*x):
    return x


def with_keyword(*, x):
    return x


def with_a_branch(x):
    if x:
        return 1
    return 2


def with_a_loop(x):
    for y in x:
        x = y
    return x


def logs(x):
    log.info("got %s", x)
    return x


def reads_before(x):
    y = late  # noqa: F821, F841 - unbound
    late = x
    return late  # noqa: RET504


def assigns_a_global(x):
    global factor
    factor = x
    return x


def calls_super(self, x):
    y = super().execute(x)
    return y  # noqa: RET504


def decorated(function):
    @functools.wraps(function)
    def call(x):
        return function(x) + 1

    return call


@decorated
def is_decorated(x):
    return x


@pytest.mark.parametrize(
    "function",
    [
        with_default,
        with_star,
        with_keyword,
        with_a_branch,
        with_a_loop,
        logs,
        reads_before,
        assigns_a_global,
        calls_super,
        is_decorated,
        functools.partial(with_default, 1),
        len,
        str.upper,
        [].append,
        lambda x: len(x),  # noqa: PLW0108 - a builtin in a body
        lambda x: (y for y in x),
        lambda x: [y for y in x],  # noqa: C416 - a scope of its own
        lambda x: lambda: x,
        lambda x: (yield x),
        lambda x: f"{x}",
    ],
)
def test_what_is_not_simple_is_called(function):
    assert inline_body(function, 0) is None


def straight(x):
    """With a docstring.

    Of several lines.
    """
    first, rest = x, x * factor
    first += 1
    x = first - rest
    return first, x


def test_a_straight_line_is_inlined():
    found = inline_body(straight, 4)
    assert found is not None
    assert found.before("v3") == [
        "own4_x = v3",
        "own4_first, own4_rest = (own4_x, own4_x * globals4['factor'])",
        "own4_first += 1",
        "own4_x = own4_first - own4_rest",
        "out4 = ((own4_first, own4_x))",
        "own4_first = own4_rest = own4_x = None",
    ]
    assert found.value("v3") == "out4"
    assert run(straight) == [straight(x) for x in range(N)]


def test_a_method_is_inlined_with_its_object():
    class Sum(MapFunction):
        def open(self, ctx):
            self.total = 0

        def execute(self, x):
            self.total = now = self.total + x
            return now

    found = inline_body(Sum().execute, 1)
    assert found is not None
    assert found.before("v0") == ["self1.total = own1_now = self1.total + v0"]
    assert run(Sum) == [x * (x + 1) // 2 for x in range(N)]


@pytest.mark.parametrize("kind", ["map", "filter"])
def test_a_straight_line_as_each_kind(kind):
    def odd(x):
        rest = x % 2
        return rest == 1

    expected = [odd(x) for x in range(N)] if kind == "map" else list(range(1, N, 2))
    assert run(odd, kind) == expected


def test_a_straight_line_as_key_and_sink():
    out = []

    def key(x):
        rest = x % 3
        return rest * rest

    def keep(x):
        value = x + 1
        out[-1:] = [value]

    env = LocalEnvironment("inline")
    env.from_source([1] * N).key_by(key).aggregate(0, lambda total, x: total + x).sink(keep)
    env.submit().wait(20)
    assert out == [N + 1]


def test_what_an_interrupted_line_has_done_stays_done():
    """As in the function itself, which a retry calls."""
    calls = [0]

    def step(x):
        calls[0] += 1
        return 1 // (x - N + 1)

    assert inline_body(step, 0) is not None
    env = LocalEnvironment("inline")
    out = []
    retry = RetryPolicy(max_attempts=2, initial_delay=0)
    env.from_source(range(N)).map(step, retry=retry, on_error="skip").sink(out.append)
    env.submit().wait(20)
    assert len(out) == N - 1
    assert calls == [N + 1]


def test_an_error_says_where_the_function_is():
    def bad(x):
        rest = x - N + 1
        return 1 // rest

    with pytest.raises(Exception, match="bad") as caught:
        run(bad)
    (note,) = caught.value.__cause__.__notes__
    assert f"{__file__}:{bad.__code__.co_firstlineno}" in note
    assert "bad" in note


def test_what_a_debugger_watches_is_called():
    called = set()

    def step(x):
        y = x
        return y + 0

    assert inline_body(step, 0) is not None

    def trace(frame, event, arg):
        if frame.f_code is step.__code__ and event == "call":
            called.add(frame.f_locals["x"])

    threading.settrace(trace)
    try:
        assert run(step) == list(range(N))
    finally:
        threading.settrace(None)
    assert called == set(range(N))
    assert sys.gettrace() is not trace


def test_two_lambdas_on_one_line_are_told_apart():
    first, second = (lambda x: x + 1), (lambda x: x + 2)
    for function, expected in ((first, 2), (second, 3)):
        found = inline_body(function, 0)
        assert found is None or eval(found.value("1")) == expected


def test_equal_constants_are_told_apart():
    pairs = [
        ((lambda x: x * 0.0), (lambda x: x * -0.0)),
        ((lambda x: (x, (1, 0))), (lambda x: (x, (True, 0.0)))),
    ]
    for function in itertools.chain(*pairs):
        found = inline_body(function, 0)
        assert found is None or repr(eval(found.value("1"))) == repr(function(1))


def test_a_global_that_changes_while_the_job_runs():
    """Read at the same moment as the function would read it."""
    global factor
    factor = 2

    def source():
        global factor
        for x in range(N):
            if x == N - 1000:
                factor = 5
            yield x

    try:
        assert run(uses_global, items=source) == [x * (5 if x >= N - 1000 else 2) for x in range(N)]
    finally:
        factor = 2


def test_a_closure_that_changes_while_the_job_runs():
    offset = 0

    def source():
        nonlocal offset
        for x in range(N):
            if x == N - 1000:
                offset = 10**6
            yield x

    expected = [x + (10**6 if x >= N - 1000 else 0) for x in range(N)]
    assert run(lambda x: x + offset, items=source) == expected


def test_a_builtin_that_is_shadowed_later(monkeypatch):
    def source():
        for x in range(N):
            if x == N - 1000:
                monkeypatch.setitem(globals(), "abs", lambda value: "shadowed")
            yield x

    out = run(lambda x: abs(x), items=source)  # noqa: PLW0108 - the name is looked up
    assert out[: N - 1000] == list(range(N - 1000))
    assert set(out[N - 1000 :]) == {"shadowed"}


def test_a_global_that_disappears_is_the_same_error():
    global gone
    gone = 1

    def source():
        global gone
        for x in range(N):
            if x == N - 1000:
                del gone
            yield x

    with pytest.raises(Exception, match="gone") as caught:
        run(lambda x: x + gone, items=source)
    assert isinstance(caught.value.__cause__, NameError)
    assert "inlined" in caught.value.__cause__.__notes__[0]


def test_what_a_function_makes_ends_with_it():
    """As when a guard or a file that it opens is released where it returns."""
    alive, most = [0], [0]

    class Guard:
        def __init__(self, x):
            alive[0] += 1
            self.x = x

        def __del__(self):
            alive[0] -= 1

    def guarded(x):
        guard = Guard(x)
        return guard.x + 1

    def look(x):
        most[0] = max(most[0], alive[0])
        return x

    assert inline_body(guarded, 0) is not None
    out = []
    env = LocalEnvironment("inline")
    env.from_source(range(N)).map(guarded).filter(look).map(look).sink(out.append)
    env.submit().wait(20)
    assert out == list(range(1, N + 1))
    assert most == [0]


def test_an_error_that_is_raised_again_and_again_is_noted_once():
    same = ValueError("always")

    def fail(x):
        raise same

    def step(x):
        value = fail(x)
        return value + 1

    env = LocalEnvironment("inline")
    env.from_source(range(N)).map(step, on_error="skip").sink(lambda x: None)
    env.submit().wait(20)
    assert len(same.__notes__) == 1


def test_functions_whose_source_changed_are_called(tmp_path):
    path = tmp_path / "steps.py"
    path.write_text("f = lambda x: x + 1\n")
    scope = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    path.write_text("f = lambda x: x - 1\n")
    linecache.checkcache(str(path))
    assert inline_body(scope["f"], 0) is None
    assert run(scope["f"]) == list(range(1, N + 1))


def test_conditions_attributes_and_calls():
    class Box:
        limit = 100

    box = Box()
    assert run(lambda x: x < box.limit, "filter") == list(range(100))
    assert run(lambda x: x if x % 2 else -x) == [x if x % 2 else -x for x in range(N)]
    assert run(lambda x: x.bit_length()) == [x.bit_length() for x in range(N)]


def test_errors_in_inlined_code_name_step_and_item():
    env = LocalEnvironment("inline")
    env.from_source(range(N), uid="n").map(lambda x: 1 // (x - N + 1), name="bad").sink(
        lambda x: None
    )
    with pytest.raises(Exception, match="bad") as caught:
        env.submit().wait(20)
    assert caught.value.item_id == f"n:{N - 1}"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


names = st.sampled_from(["x", "a", "b", "3", "7", "(x + 1)", "True"])
binary = st.sampled_from(["+", "-", "*", "//", "%", "&", "|", "^", "<", "==", "and", "or", "is"])


@st.composite
def expressions(draw, depth=3):
    if depth == 0:
        return draw(names)
    shape = draw(st.integers(0, 5))
    inner = expressions(depth=depth - 1)
    if shape == 0:
        return draw(names)
    if shape == 1:
        return f"(-{draw(inner)})"
    if shape == 2:
        return f"({draw(inner)} if {draw(inner)} else {draw(inner)})"
    if shape == 3:
        return f"(not {draw(inner)})"
    return f"({draw(inner)} {draw(binary)} {draw(inner)})"


def seen(names):
    """Names of pasted code as it sees them: a cell is a variable of its closure."""
    return {n: v.cell_contents if n.startswith("cell") else v for n, v in names.items()}


@settings(max_examples=150, deadline=None)
@given(text=expressions(), values=st.lists(st.integers(-50, 50), min_size=1, max_size=8))
def test_any_expression_means_the_same_inlined(text, values):
    filename = f"<expression {hash(text)}>"
    source = f"def make(a):\n    f = lambda x: {text}\n    return f\n"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    scope = {"b": 11}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        exec(compile(source, filename, "exec"), scope)
        function = scope["make"](5)
        found = inline_body(function, 0)
        if found is None:
            return
        for x in values:
            try:
                expected = function(x)
            except ZeroDivisionError as error:
                expected = type(error)
            try:
                got = eval(found.value("v"), {**seen(found.names), "v": x})
            except ZeroDivisionError as error:
                got = type(error)
            assert (got, type(got)) == (expected, type(expected))


targets = st.sampled_from(["x", "y", "z"])


@st.composite
def straight_lines(draw):
    lines = []
    for _ in range(draw(st.integers(1, 4))):
        value = draw(expressions(depth=2)).replace("b", draw(st.sampled_from(["b", "y", "x"])))
        shape = draw(st.integers(0, 4))
        name, other = draw(targets), draw(targets)
        if shape == 0:
            lines.append(f"{name} {draw(st.sampled_from(['+=', '-=', '*=']))} {value}")
        elif shape == 1:
            lines.append(f"{name} = {other} = {value}")
        elif shape == 2:
            lines.append(f"{name}, {other} = {value}, {draw(names)}")
        elif shape == 3:
            lines.append(f"d[{name}] = {value}")
        else:
            lines.append(f"{name} = {value}")
    return [*lines, f"return {draw(expressions(depth=1))}, {draw(targets)}"]


@settings(max_examples=300, deadline=None)
@given(lines=straight_lines(), values=st.lists(st.integers(-9, 9), min_size=1, max_size=5))
def test_any_straight_line_means_the_same_inlined(lines, values):
    filename = f"<lines {hash(tuple(lines))}>"
    body = "".join(f"        {line}\n" for line in lines)
    source = f"def make(a, d):\n    def f(x):\n{body}    return f\n"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    scope = {"b": 11}

    def outcome(call):
        try:
            return call()
        except (ZeroDivisionError, UnboundLocalError, NameError, TypeError) as error:
            return type(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        exec(compile(source, filename, "exec"), scope)
        expected_d, got_d = {}, {}
        function = scope["make"](5, expected_d)
        found = inline_body(scope["make"](5, got_d), 0)
        if found is None:
            return
        space = seen(found.names)
        for x in values:

            def pasted(x=x):
                space["v"] = x
                for line in found.before("v"):
                    exec(line, space)
                return eval(found.value("v"), space)

            expected, got = outcome(lambda x=x: function(x)), outcome(pasted)
            assert (repr(got), got_d) == (repr(expected), expected_d)
