"""Generated code of a segment: one function over a batch, with every fused step in it.

Each user call stands on a line of its own inside its own ``try`` (free in CPython 3.11 and later
until it raises), so a failing item is handled where it failed, by the policy of its step, and the
loop goes on; nothing runs twice. Counters are locals, written back once per batch. The source text
is kept in ``linecache``, so tracebacks and debuggers show it.

A linear chain (no fan-out, no expansion) has a single ``try`` around its loop instead: there the
place of a failure is read from the traceback, and ``REC`` runs the rest of the chain for a rescued
item.

Names in generated code: ``f3`` the function of node 3, ``v3`` its output, ``k3`` the key it
computed, ``a7``/``c7`` append and channel of output 7, ``d3`` drops, ``e3`` expansions,
``H``/``AH`` the error handler.
"""

from __future__ import annotations

from sage.kernel.compiler.model import ChannelPlan
from sage.kernel.compiler.writer import CodeWriter, Generated
from sage.kernel.graph.model import DEFAULT_ROUTE, Node

OPERATOR_KINDS = frozenset({"window", "batch", "process"})


class SegmentCode(CodeWriter):
    """Writes the functions of one segment; see ``CodeWriter`` for the arguments."""

    # ------------------------------------------------------------------ entries

    def source(self, node: Node, *, ranged: bool = False) -> Generated:
        """``run(it, most) -> int``: pull up to ``most`` items straight through the steps.

        Args:
            ranged: ``it`` is a ``RangeItems`` and not a ``CountedItems``: nothing is counted
                unless outputs need the position of their input.
        """
        item = f"v{node.id}"
        self.linear = self._is_linear(node)
        loop = f"for {item} in i:"
        if ranged:
            self._line(1, "chunk = it.take(most)")
            self._line(1, "i = it.chunk")
        else:
            self._line(1, "i = it.take(most)")
            loop = f"for n, {item} in i:"
        if not ranged or self.parents:
            self._line(1, "n = 0")
        else:
            self._line(1, f"{item} = chunk.start - chunk.step")
            self.place = f"({item} - chunk.start) // chunk.step + 1"
        depth = self._begin_linear(loop) if self.linear else self._begin(loop)
        if ranged and self.parents:
            self._line(depth, "n += 1")
        self._emit_consumers(node, depth, "continue")
        if self.linear:
            self._end_linear(self.place)
        return self._finish("it, most", self.place)

    def can_bulk(self, node: Node) -> bool:
        """Whether a source only feeds one plain channel, so that items may move in lists."""
        outer = self.outputs.get(node.id, [])
        simple = len(outer) == 1 and not outer[0].keyed and not outer[0].counted
        return simple and not self.plan.inner_consumers(node)

    def bulk(self, node: Node, *, ranged: bool = False) -> Generated:
        """``run(it, most) -> int`` for sources that neither block nor run user code."""
        cid = self.outputs[node.id][0].id
        self._use(f"c{cid}", f"C[{cid}]")
        if not ranged:
            self._use("islice", "islice")
        self._line(1, "n = 0")
        self._line(1, "try:")
        self._line(2, f"room = c{cid}.limit - len(c{cid}.items) - c{cid}.in_hand")
        self._line(2, "asked = most if most < room else max(1, room)")
        self._line(
            2, "batch = it.take(asked)" if ranged else "batch = list(islice(it.items, asked))"
        )
        self._line(2, "n = len(batch)")
        self._line(2, f"c{cid}.items.extend(batch)")
        self._line(2, f"if c{cid}.waiting: c{cid}.wake()")
        self._line(2, f"if len(c{cid}.items) + c{cid}.in_hand >= c{cid}.limit: c{cid}.block()")
        return self._finish("it, most", "n", "most if n == asked else n")

    def batch(self, node: Node, index: int, *, keyed: bool) -> Generated:
        """``run(batch)``: items that arrive at input ``index`` of ``node``."""
        counted = self.parents
        self.linear = self._is_linear(node, at=True)
        self._line(1, "n = -1" if counted else "n = iter(batch)")
        key = self.plan.key_of.get((node.id, index)) if keyed else None
        target = f"k{key.id}, x" if key is not None else "x"
        if self.linear:
            items = "i" if counted else "n"
            if counted:
                self._line(1, "i = iter(batch)")
            depth = self._begin_linear(f"for {target} in {items}:")
        else:
            depth = self._begin(f"for {target} in {'batch' if counted else 'n'}:")
        if not self.outputs:  # with outputs, an aborted channel stops the loop
            self._use("CANCELED", "CANCELED")
            self._line(depth, "if CANCELED: break")
        if counted:
            self._line(depth, "n += 1")
        self._emit_node(node, index, "x", depth, "continue")
        if self.linear:
            self._end_linear("n")
        return self._finish("batch", "len(batch)")

    def outputs_of(self, node: Node) -> Generated:
        """``run(batch)``: values that ``node`` put out by itself (timers, end of input)."""
        self._line(1, "n = -1")
        depth = self._begin(f"for v{node.id} in batch:")
        self._line(depth, "n += 1")
        self._count(depth, node, "e")
        self._emit_consumers(node, depth, "continue")
        return self._finish("batch", "len(batch)")

    def resume(self, node: Node) -> Generated:
        """``run(batch, key, n)``: go on after ``node`` with what it should have put out."""
        var = "x" if node.kind in ("filter", "keyby") else f"v{node.id}"
        key = node if node.kind == "keyby" else self._input_key(node, 0)
        if key is not None:
            self._line(1, f"k{key.id} = key")
        depth = self._begin(f"for {var} in batch:")
        self._emit_consumers(node, depth, "continue", var)
        return self._finish("batch, key, n", "len(batch)")

    def item(self, node: Node, index: int) -> Generated:
        """``run(x, out, n)`` (async or parallel): one item.

        ``out((channel, value))`` is called per output; ``n`` is whatever the runtime wants to be
        told where the item came from when it fails.
        """
        self._line(1, "while True:")
        self._emit_node(node, index, "x", 2, "break")
        self._line(2, "break")
        return self._finish_item()

    # ------------------------------------------------------------------ walking

    def _emit_consumers(self, node: Node, depth: int, skip: str, var: str | None = None) -> None:
        var = var or f"v{node.id}"
        inner = self.plan.inner_consumers(node)
        outer = self.outputs.get(node.id, [])
        if node.kind == "route":
            self._emit_route(node, var, inner, outer, depth)
            return
        for channel in outer:
            self._emit_out(channel, var, depth)
        for nth, (consumer, index, _) in enumerate(inner):
            self._emit_branch(consumer, index, var, depth, skip, last=nth == len(inner) - 1)

    def _emit_branch(
        self, consumer: Node, index: int, var: str, depth: int, skip: str, *, last: bool
    ) -> None:
        if last:
            self._emit_node(consumer, index, var, depth, skip)
            return
        self._line(depth, "while True:")
        self._emit_node(consumer, index, var, depth + 1, "break")
        self._line(depth + 1, "break")

    def _emit_out(self, channel: ChannelPlan, var: str, depth: int) -> None:
        cid = channel.id
        if self.gated:
            value = f"(k{self._key_of(channel).id}, {var})" if channel.keyed else var
            self._line(depth, f"out(({cid}, {value}))")
            return
        if self.parents:  # before the record itself: its reader may ask at once
            self._use(f"p{cid}", f"parents[{cid}]")
            self._line(depth, f"p{cid}(n)")
        if channel.keyed:
            self._use(f"put{cid}", f"P[{cid}]")
            self._line(depth, f"put{cid}(k{self._key_of(channel).id}, {var})")
        elif channel.counted:
            self._use(f"put{cid}", f"P[{cid}]")
            self._line(depth, f"put{cid}({var})")
        else:
            self._use(f"a{cid}", f"C[{cid}].items.append")
            self._use(f"c{cid}", f"C[{cid}]")
            self._line(depth, f"a{cid}({var})")
            self._line(depth, f"if c{cid}.waiting: c{cid}.wake()")
            if self.segment.source is not None or self.expanding:
                self._use(f"i{cid}", f"C[{cid}].items")
                self._line(
                    depth, f"if len(i{cid}) + c{cid}.in_hand >= c{cid}.limit: c{cid}.block()"
                )

    def _key_of(self, channel: ChannelPlan) -> Node:
        return self.plan.key_of[channel.target, channel.index]

    def _emit_route(
        self,
        node: Node,
        var: str,
        inner: list[tuple[Node, int, str | None]],
        outer: list[ChannelPlan],
        depth: int,
    ) -> None:
        """Consumers by port: an ``if`` chain on the route name; the default port takes the rest."""
        ports: dict[str | None, None] = {}
        for _, _, port in inner:
            ports[port] = None
        for channel in outer:
            ports[channel.port] = None
        named = [p for p in ports if p != DEFAULT_ROUTE]
        known = [p for p in node.params.get("ports", ()) if p != DEFAULT_ROUTE]
        word = "if"
        for port in [*named, *(p for p in known if p not in ports)]:
            self._line(depth, f"{word} r{node.id} == {port!r}:")
            word = "elif"
            self._emit_port(node, var, inner, outer, port, depth + 1)
        if DEFAULT_ROUTE in ports:
            self._line(depth, "else:" if word == "elif" else "if True:")
            self._emit_port(node, var, inner, outer, DEFAULT_ROUTE, depth + 1)
        elif known or named:
            self._line(depth, "else:")
            self._line(depth + 1, f"NR({node.id}, r{node.id}, {var})")

    def _emit_port(
        self,
        node: Node,
        var: str,
        inner: list[tuple[Node, int, str | None]],
        outer: list[ChannelPlan],
        port: str | None,
        depth: int,
    ) -> None:
        before = len(self.lines)
        for channel in outer:
            if channel.port == port:
                self._emit_out(channel, var, depth)
        for consumer, index, p in inner:
            if p == port:
                self._count(depth, consumer, "i")
                self._emit_branch(consumer, index, var, depth, "break", last=False)
        if len(self.lines) == before:
            self._line(depth, "pass")

    # ------------------------------------------------------------------ nodes

    def _emit_node(self, node: Node, index: int, var: str, depth: int, skip: str) -> None:
        getattr(self, f"_node_{self._writer(node)}")(node, index, var, depth, skip)

    def _writer(self, node: Node) -> str:
        if node.kind in OPERATOR_KINDS:
            return "operator"
        if node.kind == "join" and not self._plain_join(node):
            return "operator"
        return {"fallback": "map", "sink": "map"}.get(node.kind, node.kind)

    def _plain_join(self, node: Node) -> bool:
        p = node.params
        return p.get("how", "inner") == "inner" and p.get("window") is None

    def _node_map(self, node: Node, index: int, var: str, depth: int, skip: str) -> None:
        out = f"v{node.id}"
        if node.kind == "sink":
            self._guard(node, depth, skip, var, [self._call(node, var)], ["pass"])
            return
        self._guard(node, depth, skip, var, [f"{out} = {self._call(node, var)}"], [f"{out} = r"])
        if self.profile and not self.asynchronous:
            self._use("COROUTINE", "COROUTINE")
            self._line(depth, f"if {out}.__class__ is COROUTINE: NC({node.id}, {out})")
        self._emit_consumers(node, depth, skip)

    def _node_filter(self, node: Node, index: int, var: str, depth: int, skip: str) -> None:
        if self.profile:
            kept = f"v{node.id}"
            self._guard(
                node, depth, skip, var, [f"{kept} = {self._call(node, var)}"], [f"{kept} = r"]
            )
            self._line(depth, f"if not {kept}:")
            self._count(depth + 1, node, "d")
            self._line(depth + 1, skip)
        else:
            name = self._counter(node, "d")
            drop = [f"    {name} += 1", f"    {skip}"]
            test = self._call(node, var)
            self._guard(
                node,
                depth,
                skip,
                var,
                [f"if not ({test}):", *drop],
                ["if not r:", *drop],
            )
        self._emit_consumers(node, depth, skip, var)

    def _node_flatmap(self, node: Node, index: int, var: str, depth: int, skip: str) -> None:
        out = f"v{node.id}"
        if self._flag(node, "async_generator"):
            self._flat(node, var, depth, skip, f"async for {out} in {self._plain_call(node, var)}:")
            return
        call = self._call(node, var)
        items = f"w{node.id}"
        if self._flag(node, "materialise"):
            self._use("LIST", "LIST")
            body = [f"{items} = {call}", f"{items} = () if {items} is None else LIST({items})"]
        else:
            body = [f"{items} = {call}", f"if {items} is None: {items} = ()"]
        self._guard(node, depth, skip, var, body, [f"{items} = () if r is None else r"])
        self._flat(node, var, depth, skip, f"for {out} in {items}:")

    def _plain_call(self, node: Node, args: str) -> str:
        self._use(f"f{node.id}", f"F[{node.id}]")
        return f"f{node.id}({args})"

    def _flat(self, node: Node, var: str, depth: int, skip: str, loop: str) -> None:
        """A loop over outputs whose iteration itself is user code (a generator)."""
        self._line(depth, "try:")
        self._line(depth + 1, loop)
        self._count(depth + 2, node, "e")
        self.expanding += 1
        self._emit_consumers(node, depth + 2, "continue")
        self.expanding -= 1
        self._line(depth, "except Exception as error:")
        handler = "await AH" if self.asynchronous else "H"
        self._use("AH" if self.asynchronous else "H", "AH" if self.asynchronous else "H")
        self._line(
            depth + 1,
            f"{handler}({node.id}, {var}, error, {self.place}, {self._key_var(node)}, True)",
        )

    def _node_keyby(self, node: Node, index: int, var: str, depth: int, skip: str) -> None:
        if self._flag(node, "key_used"):
            key = f"k{node.id}"
            self._guard(
                node, depth, skip, var, [f"{key} = {self._call(node, var)}"], [f"{key} = r"]
            )
        self._emit_consumers(node, depth, skip, var)

    def _count_in(self, node: Node, depth: int) -> None:
        """Count what comes into a step with several inputs where the steps before do not tell."""
        routes = (up for up in self.segment.nodes if up.kind == "route")
        if any(node is to for up in routes for to, _, _ in self.plan.inner_consumers(up)):
            self._count(depth, node, "e")

    def _node_union(self, node: Node, index: int, var: str, depth: int, skip: str) -> None:
        self._count_in(node, depth)
        self._emit_consumers(node, depth, skip, var)

    def _node_comap(self, node: Node, index: int, var: str, depth: int, skip: str) -> None:
        out, function = f"v{node.id}", f"f{node.id}_{index}"
        self._use(function, f"F[{node.id}][{index}]")
        self._count_in(node, depth)
        awaits = "await " if self._awaits(node) else ""
        body = [f"{out} = {awaits}{function}({var})"]
        self._guard(node, depth, skip, var, body, [f"{out} = r"], index)
        self._emit_consumers(node, depth, skip)

    def _node_route(self, node: Node, index: int, var: str, depth: int, skip: str) -> None:
        name = f"r{node.id}"
        self._use("NR", "NR")
        self._guard(node, depth, skip, var, [f"{name} = {self._call(node, var)}"], [f"{name} = r"])
        self._emit_consumers(node, depth, skip, var)

    def _node_reduce(self, node: Node, index: int, var: str, depth: int, skip: str) -> None:
        by = self._input_key(node, index)
        out, key = f"v{node.id}", "None" if by is None else f"k{by.id}"
        state, get = f"S{node.id}", f"g{node.id}"
        self._use(state, f"STATE[{node.id}]")
        self._use(get, f"STATE[{node.id}].get")
        self._use("MISSING", "MISSING")
        call = self._call(node, out, var)
        body = [f"{out} = {get}({key}, MISSING)"]
        if "initial" in node.params:
            self._use(f"init{node.id}", f"INIT[{node.id}]")
            body += [
                f"if {out} is MISSING: {out} = init{node.id}()",
                f"{state}[{key}] = {out} = {call}",
            ]
        else:
            body += [f"{state}[{key}] = {out} = {var} if {out} is MISSING else {call}"]
        self._guard(node, depth, skip, var, body, [f"{out} = r"])
        self._emit_consumers(node, depth, skip)

    def _node_join(self, node: Node, index: int, var: str, depth: int, skip: str) -> None:
        """Symmetric hash join, see ``sage.kernel.runtime.tables``."""
        nid = node.id
        key = f"k{self.plan.key_of[nid, index].id}"
        mine, other = (f"L{nid}", f"R{nid}") if index == 0 else (f"R{nid}", f"L{nid}")
        self._use(f"L{nid}", f"STATE[{nid}][0]")
        self._use(f"R{nid}", f"STATE[{nid}][1]")
        self._use("Many", "Many")
        self._use("add_to", "add_to")
        one = node.params.get("match", "all") == "one"
        found, hit = f"o{nid}", f"m{nid}"
        self._count_in(node, depth)
        if one:
            self._use("MISSING", "MISSING")
            self._use("take_first", "take_first")
            self._line(depth, f"{found} = {other}.pop({key}, MISSING)")
            self._line(depth, f"if {found} is MISSING:")
        store = depth + 1 if one else depth
        self._line(store, f"if {key} in {mine}: add_to({mine}, {key}, {var})")
        self._line(store, f"else: {mine}[{key}] = {var}")
        if one:
            self._line(store, skip)
            self._line(depth, f"if {found}.__class__ is Many:")
            self._line(depth + 1, f"{found} = take_first({other}, {key}, {found})")
            self._emit_pair(node, index, var, found, depth, skip)
            return
        self._line(depth, f"if {key} not in {other}: {skip}")
        self._line(depth, f"{found} = {other}[{key}]")
        many, left = f"h{nid}", f"j{nid}"  # a loop over (found,) costs twice as much
        self._line(
            depth, f"if {found}.__class__ is Many: {many}, {left} = iter({found}), len({found})"
        )
        self._line(depth, f"else: {many}, {left}, {hit} = None, 1, {found}")
        self._line(depth, f"while {left}:")
        self._line(depth + 1, f"{left} -= 1")
        self._line(depth + 1, f"if {many} is not None: {hit} = next({many})")
        self.expanding += 1
        self._emit_pair(node, index, var, hit, depth + 1, "continue")
        self.expanding -= 1

    def _emit_pair(
        self, node: Node, index: int, var: str, other: str, depth: int, skip: str
    ) -> None:
        out = f"v{node.id}"
        args = (var, other) if index == 0 else (other, var)
        pair = f"({', '.join(args)})"
        body = [f"{out} = {self._call(node, *args)}"]
        self._guard(node, depth, skip, pair, body, [f"{out} = r"], index)
        self._count(depth, node, "m")
        self._emit_consumers(node, depth, skip)

    def _node_operator(self, node: Node, index: int, var: str, depth: int, skip: str) -> None:
        """A stateful operator: a call that gives an iterable of outputs."""
        call, items = f"op{node.id}", f"w{node.id}"
        self._use(call, f"OP[{node.id}].process")
        if len(node.inputs) > 1:
            self._count(depth, node, "c")
        key = self._input_key(node, index)
        if key is not None:
            self._use(f"x{node.id}", f"X[{node.id}]")
            self._line(depth, f"x{node.id}.key = k{key.id}")
        body = [f"{items} = {call}({var}, {index})"]
        once = node.kind != "process"  # the function of the others has its policy around it
        self._guard(node, depth, skip, var, body, [f"{items} = r"], once=once)
        self._flat(node, var, depth, skip, f"for v{node.id} in {items}:")
