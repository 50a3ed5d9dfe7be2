"""Inlining never changes what a step means."""

from __future__ import annotations

import functools
import linecache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.api import LocalEnvironment
from sage.kernel.compiler.inline import inline_body
from sage.kernel.runtime.sync_task import HOT

N = HOT * 3
factor = 2


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
    assert found.with_arguments("v1").replace(" ", "") == "(v1+1)"


def with_default(x, y=1):
    return x + y


def with_star(*x):
    return x


def with_keyword(*, x):
    return x


def two_statements(x):
    y = x
    return y  # noqa: RET504 - two statements


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
        two_statements,
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


def test_two_lambdas_on_one_line_are_told_apart():
    first, second = (lambda x: x + 1), (lambda x: x + 2)
    for function, expected in ((first, 2), (second, 3)):
        found = inline_body(function, 0)
        assert found is None or eval(found.with_arguments("1")) == expected


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
    assert isinstance(caught.value.__cause__, (NameError, KeyError))


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
    import warnings

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
                got = eval(found.with_arguments("v"), {**seen(found.names), "v": x})
            except ZeroDivisionError as error:
                got = type(error)
            assert (got, type(got)) == (expected, type(expected))
