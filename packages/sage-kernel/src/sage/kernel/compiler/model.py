"""The execution graph: segments of fused steps and the channels between them.

A segment is what one task runs. Its ``mode`` says how:

- ``sync``: one thread, one generated function over a batch (or straight over the source);
- ``parallel``: several threads with one instance of the steps each, sharing one inbox;
- ``async``: up to ``width`` items in flight on the event loop;
- ``vector``: a step with ``execute_batch``, given natural batches;
- ``process``: several worker processes behind dispatcher threads.

``subtasks`` > 1 only for keyed steps, whose input is partitioned by a stable hash of the key.
"""

from __future__ import annotations

from sage.kernel.graph.model import Node


class ChannelPlan:
    """Items of ``source`` (its output ``port``) on their way to input ``index`` of ``target``.

    ``keyed``: the channel carries ``(key, item)``. ``counted``: it leads into a loop. ``most``:
    records that may ever come through it (feedback with ``max_items``).
    """

    __slots__ = ("counted", "feedback", "id", "index", "keyed", "most", "port", "source", "target")

    def __init__(
        self,
        id: int,  # noqa: A002 - the field's word, as in the graph model
        source: int,
        port: str | None,
        target: int,
        index: int,
        *,
        keyed: bool = False,
        feedback: bool = False,
        most: int | None = None,
    ) -> None:
        self.id = id
        self.source = source
        self.port = port
        self.target = target
        self.index = index
        self.keyed = keyed
        self.feedback = feedback
        self.counted = False
        self.most = most


class SegmentPlan:
    """Fused steps and how they run.

    Attributes:
        nodes: In topological order.
        inputs, outputs: Channels.
        width: Threads, processes or items in flight, by mode.
        decisions: Why the segment is as it is, for ``explain``.
    """

    __slots__ = (
        "decisions",
        "id",
        "inputs",
        "mode",
        "nodes",
        "ordered",
        "outputs",
        "subtasks",
        "width",
    )

    def __init__(
        self,
        id: int,  # noqa: A002 - as above
        mode: str,
        *,
        width: int = 1,
        ordered: bool = True,
    ) -> None:
        self.id = id
        self.mode = mode
        self.nodes: list[Node] = []
        self.inputs: list[ChannelPlan] = []
        self.outputs: list[ChannelPlan] = []
        self.width = width
        self.subtasks = 1
        self.ordered = ordered
        self.decisions: list[str] = []

    @property
    def source(self) -> Node | None:
        """The source step the segment begins with, if it does."""
        first = self.nodes[0] if self.nodes else None
        return first if first is not None and first.kind == "source" else None

    @property
    def name(self) -> str:
        """Names of its steps, joined."""
        return " → ".join(node.name for node in self.nodes)


class ExecutionGraph:
    """Segments, channels, and the loops (sets of segment ids) that feedback makes.

    Attributes:
        consumers: node id -> (consumer, its input index, port read), feedback included.
        key_of: (node id, input index) -> the key_by whose key that input carries.
        flags: node id -> what the generated code must know: ``async``, ``async_generator``,
            ``materialise`` (outputs listed before any is sent on), ``uses_key``, ``key_used`` (of a
            key_by), ``context_key`` (the step can read ``ctx.key``).
    """

    __slots__ = (
        "channels",
        "consumers",
        "flags",
        "key_of",
        "loops",
        "nodes",
        "segment_of",
        "segments",
    )

    def __init__(self) -> None:
        self.segments: list[SegmentPlan] = []
        self.channels: list[ChannelPlan] = []
        self.nodes: dict[int, Node] = {}
        self.segment_of: dict[int, SegmentPlan] = {}
        self.consumers: dict[int, list[tuple[Node, int, str | None]]] = {}
        self.key_of: dict[tuple[int, int], Node] = {}
        self.loops: list[set[int]] = []
        self.flags: dict[int, set[str]] = {}

    def inner_consumers(self, node: Node) -> list[tuple[Node, int, str | None]]:
        """Consumers in the same segment that are not reached through a channel."""
        segment = self.segment_of[node.id]
        through = {(c.target, c.index) for c in segment.inputs}
        return [
            (consumer, index, port)
            for consumer, index, port in self.consumers[node.id]
            if self.segment_of.get(consumer.id) is segment and (consumer.id, index) not in through
        ]
