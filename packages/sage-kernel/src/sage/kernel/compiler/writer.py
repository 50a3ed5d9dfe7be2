"""How generated code is written down: lines, names, counters, guards around user calls.

Predecessor of ``sage.kernel.compiler.codegen``, which decides what the lines say.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from sage.kernel.compiler.model import ChannelPlan, ExecutionGraph, SegmentPlan
from sage.kernel.graph.model import DEAD_LETTER, Node

if TYPE_CHECKING:
    from sage.kernel.compiler.inline import Inlined

CELL = "cell"
"""Names of variables of enclosing functions start with this; see ``compiler.inline``."""

_unpublished: dict[str, str] = {}


class Generated:
    """Source text and what it needs.

    Attributes:
        source: Text of a module that defines ``make(env)`` returning the function.
        counters: Names of the counters the function adds to ``K``, in order.
        guards: Line number -> (node id, variable of its input, variable of its key or ``None``),
            for the calls of a linear chain.
    """

    __slots__ = ("counters", "guards", "source")

    def __init__(
        self, source: str, counters: list[str], guards: dict[int, tuple[int, str, str | None]]
    ) -> None:
        self.source = source
        self.counters = counters
        self.guards = guards


class CodeWriter:
    """Writes the functions of one segment.

    Args:
        plan: The execution graph.
        segment: The segment.
        inlined: Bodies of steps, by node id, where they may be inlined.
        held: How many value states of a step, by node id, the code holds (``HELD`` in the names).
        profile: Time every call (``T``, ``obs`` per node) instead of none.
        lineage: Record the input position of every output (segments that are not one-to-one).
    """

    def __init__(
        self,
        plan: ExecutionGraph,
        segment: SegmentPlan,
        *,
        inlined: dict[int, Inlined] | None = None,
        held: Mapping[int, Sequence[Any]] | None = None,
        profile: bool = False,
        lineage: bool = True,
    ) -> None:
        self.plan = plan
        self.segment = segment
        self.inlined = inlined or {}
        self.held = held or {}
        self.profile = profile
        self.asynchronous = segment.mode == "async"
        self.gated = segment.mode in ("async", "parallel")
        self.outputs: dict[int, list[ChannelPlan]] = {}
        for channel in segment.outputs:
            if channel.port != DEAD_LETTER:
                self.outputs.setdefault(channel.source, []).append(channel)
        self.one_to_one = is_one_to_one(plan, segment)
        self.parents = lineage and bool(self.outputs) and not self.one_to_one and not self.gated
        self.lines: list[str] = []
        self.names: dict[str, str] = {}
        self.cells: set[str] = set()
        self.counters: list[str] = []
        self.linear = False
        self.place = "n"
        self.expanding = 0
        self.marks: list[tuple[int, int, str, str | None]] = []

    # ------------------------------------------------------------------ linear chains

    def _is_linear(self, node: Node, *, at: bool = False) -> bool:
        """Whether all after ``node`` (from it on, with ``at``) is one chain of simple steps."""
        if self.profile:
            return False
        while True:
            if at and node.kind not in ("map", "filter", "keyby", "reduce", "sink", "fallback"):
                return False
            inner = self.plan.inner_consumers(node)
            if len(inner) + len(self.outputs.get(node.id, [])) > 1:
                return False
            if not inner:
                return True
            node, at = inner[0][0], True

    def _begin(self, loop: str) -> int:
        self._line(1, "try:")
        self._line(2, loop)
        return 3

    def _begin_linear(self, loop: str) -> int:
        self._line(1, "try:")
        self._line(2, "while True:")
        self._line(3, "try:")
        self._line(4, loop)
        return 5

    def _end_linear(self, position: str) -> None:
        self._line(4, "break")
        self._line(3, "except Exception as error:")
        self._use("REC", "REC")
        self._line(4, f"REC(error, {position})")

    # ------------------------------------------------------------------ user calls

    def _call(self, node: Node, *args: str) -> str:
        inline = self._pasted(node)
        if inline is not None:
            for name in inline.names:
                if name.startswith(CELL):
                    self.cells.add(name)
                else:
                    self._use(name, name)
            return inline.value(*args)
        function = f"f{node.id}"
        self._use(function, f"F[{node.id}]")
        return ("await " if self._awaits(node) else "") + f"{function}({', '.join(args)})"

    def _pasted(self, node: Node) -> Inlined | None:
        return None if self.profile else self.inlined.get(node.id)

    def _awaits(self, node: Node) -> bool:
        return self.asynchronous and self._flag(node, "async")

    def _guard(
        self,
        node: Node,
        depth: int,
        skip: str,
        var: str,
        body: list[str],
        rescued: list[str],
        index: int = 0,
        *,
        once: bool = False,
    ) -> None:
        """``try`` around the call; ``rescued`` is what to do with a value the policy gave.

        With ``once`` the call must not be repeated.
        """
        timed = self.profile
        self._set_key(node, depth, index)
        inline = self._pasted(node)
        pasted = [] if inline is None else inline.before(var)
        if pasted and body == ["None"]:  # a sink without a value
            body = []
        body = [*self._take_states(node), *pasted, *body]
        if self.linear:
            for line in body:
                self.marks.append((len(self.lines), node.id, var, self._key_name(node)))
                self._line(depth, line)
            self._return_states(node, depth)
            return
        self._line(depth, "try:")
        if timed:
            self._use("pc", "pc")
            self._use(f"obs{node.id}", f"OBS[{node.id}]")
            self._line(depth + 1, "t = pc()")
        for line in body:
            self._line(depth + 1, line)
        if timed:
            self._line(depth + 1, f"obs{node.id}(pc() - t)")
        self._line(depth, "except Exception as error:")
        name = "HELD_H" if node.id in self.held else "AH" if self.asynchronous else "H"
        handler = f"await {name}" if self.asynchronous else name
        self._use(name, name)
        self._use("SKIP", "SKIP")
        key = self._key_var(node, index)
        ident = f"({node.id}, {index})" if node.kind == "comap" else str(node.id)
        self._line(
            depth + 1,
            f"r = {handler}({ident}, {var}, error, {self.place}, {key}{', True' if once else ''})",
        )
        self._line(depth + 1, f"if r is SKIP: {skip}")
        for line in [*rescued, *self._keep_states(node)]:
            self._line(depth + 1, line)
        self._return_states(node, depth)

    def _take_states(self, node: Node) -> list[str]:
        """Lines that put the values of the key into the state objects the step reads."""
        lines = []
        for i in range(len(self.held.get(node.id, ()))):
            state, name = f"s{node.id}_{i}", f"HELD[{node.id}][{i}]"
            self._use(state, name)
            self._use(f"get_{state}", f"{name}.data.get")
            self._use(f"first_{state}", f"{name}._default")
            key = self._key_name(node)
            value = f"get_{state}({key}, first_{state})"
            lines.append(f"{state}.held = was_{state} = {value}")
        return lines

    def _return_states(self, node: Node, depth: int) -> None:
        for i in range(len(self.held.get(node.id, ()))):
            state, key = f"s{node.id}_{i}", self._key_name(node)
            self._use(f"data_{state}", f"HELD[{node.id}][{i}].data")
            self._line(depth, f"now = {state}.held")
            self._line(depth, f"if now is not was_{state}:")
            self._line(depth + 1, f"if now is first_{state}: data_{state}.pop({key}, None)")
            self._line(depth + 1, f"else: data_{state}[{key}] = now")

    def _keep_states(self, node: Node) -> list[str]:
        """Lines after a failure, whose handling has stored the values."""
        states = (f"s{node.id}_{i}" for i in range(len(self.held.get(node.id, ()))))
        return [f"was_{state} = {state}.held" for state in states]

    def _key_var(self, node: Node, index: int = 0) -> str:
        return self._key_name(node, index) or "None"

    def _key_name(self, node: Node, index: int = 0) -> str | None:
        key = self._input_key(node, index)
        return f"k{key.id}" if key is not None and self._flag(node, "uses_key") else None

    def _flag(self, node: Node, name: str) -> bool:
        return name in self.plan.flags[node.id]

    def _input_key(self, node: Node, index: int) -> Node | None:
        return self.plan.key_of.get((node.id, index))

    def _set_key(self, node: Node, depth: int, index: int = 0) -> None:
        key = self._input_key(node, index)
        if key is not None and self._flag(node, "context_key"):
            self._use(f"x{node.id}", f"X[{node.id}]")
            self._line(depth, f"x{node.id}.key = k{key.id}")

    # ------------------------------------------------------------------ writing

    def _line(self, depth: int, text: str) -> None:
        self.lines.append("    " * (depth + 1) + text)

    def _use(self, name: str, expression: str) -> None:
        self.names[name] = expression

    def _counter(self, node: Node, letter: str) -> str:
        name = f"{letter}{node.id}_n"
        if name not in self.counters:
            self.counters.append(name)
        return name

    def _count(self, depth: int, node: Node, letter: str) -> None:
        self._line(depth, f"{self._counter(node, letter)} += 1")

    def _finish(self, args: str, n: str, result: str = "") -> Generated:
        flush = ["finally:"]
        flush += [f"    K[{i}] += {name}" for i, name in enumerate(self.counters)] or ["    pass"]
        returns = args == "it, most"
        if returns:
            flush.append(f"    N[0] = {n}")
            self._use("N", "N")
        body = [*self.lines, *("        " + line for line in flush)]
        start = [f"        {name} = 0" for name in self.counters]
        if returns:
            body.append(f"        return {result or n}")
        self._use("K", "K")
        return self._module(args, start, body, "def")

    def _finish_item(self) -> Generated:
        self._use("K", "K")
        start = [f"        {name} = 0" for name in self.counters]
        lines = self.lines
        if self.counters:
            start.append("        try:")
            lines = ["    " + line for line in lines]
            lines.append("        finally:")
            lines += [f"            K[{i}] += {name}" for i, name in enumerate(self.counters)]
        define = "async def" if self.asynchronous else "def"
        return self._module("x, out, n", start, lines, define)

    def _module(self, args: str, start: list[str], body: list[str], define: str) -> Generated:
        bound = ", ".join(f"{name}={name}" for name in sorted(self.names))
        text = ["def make(env):", "    globals().update(env)"]
        text += [
            f"    {name} = {self.names[name]}"
            for name in sorted(self.names)
            if name != self.names[name]
        ]
        text += [f"    {name} = None" for name in sorted(self.cells)]
        text.append(f"    {define} run({args}, {bound}):")
        text += start
        first = len(text) + 1
        text += body
        text.append("    return run")
        guards = {first + at: (node, var, key) for at, node, var, key in self.marks}
        return Generated("\n".join(text) + "\n", self.counters, guards)


def is_one_to_one(plan: ExecutionGraph, segment: SegmentPlan) -> bool:
    """Whether every output channel has exactly one record per input record, in order."""
    for node in segment.nodes:
        if node.kind not in ("source", "map", "keyby", "fallback", "sink"):
            return False
        if node.kind == "keyby" and node.options.on_error != "fail":
            return False
        if node.kind in ("map", "fallback") and node.options.on_error != "fail":
            return False
    return len({(c.target, c.index) for c in segment.inputs}) <= 1


def load(generated: Generated, env: dict[str, Any], name: str) -> Any:
    """Compile generated source; tracebacks and debuggers find it by its file name."""
    filename = f"<sage {name}>"
    code = _compiled(generated.source, filename)
    _unpublished[filename] = generated.source
    if "linecache" in sys.modules:
        publish_sources()
    scope: dict[str, Any] = {}
    exec(code, scope)  # noqa: S102 - source written by this module, values passed by name
    run = scope["make"](env)
    free = run.__code__.co_freevars
    if free:  # variables of inlined functions: the same cells as those functions have
        cells = tuple(env[cell] for cell in free)
        run = FunctionType(run.__code__, run.__globals__, "run", run.__defaults__, cells)
    return run


@lru_cache(maxsize=256)
def _compiled(source: str, filename: str) -> CodeType:
    """Compiled once for all workers of a step, and for all runs of a pipeline."""
    return compile(source, filename, "exec")


def publish_sources() -> None:
    """Put generated sources into ``linecache``; called when something failed, or it is in use.

    Importing ``linecache`` takes 6 ms, a good part of a short program's start.
    """
    import linecache  # noqa: PLC0415

    while _unpublished:
        filename, source = _unpublished.popitem()
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
