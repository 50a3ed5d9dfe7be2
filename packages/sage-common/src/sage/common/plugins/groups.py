"""The entry-point groups of SAGE, and what kind of plugin each holds.

Successor: ``sage.common.plugins.scan``.
"""

from __future__ import annotations

from sage.common.errors import PluginError

PREFIX = "sage."

#: Groups whose members are steps of a pipeline, found by ``env.map("DenseRetriever")``.
OPERATOR_GROUPS = (
    "sage.sources",
    "sage.retrievers",
    "sage.rerankers",
    "sage.refiners",
    "sage.promptors",
    "sage.generators",
    "sage.agents",
    "sage.evaluators",
    "sage.transforms",
    "sage.routers",
    "sage.sinks",
)

#: Groups of everything else that is looked up by name.
OTHER_GROUPS = (
    "sage.embedders",
    "sage.memory_backends",
    "sage.services",
    "sage.runtimes",
    "sage.commands",
    "sage.apps",
    "sage.checks",
    "sage.http_apps",
)

#: Observers: pluggy hook implementations, see ``sage.common.hooks``.
HOOK_GROUP = "sage.plugins"

GROUPS = (*OPERATOR_GROUPS, *OTHER_GROUPS, HOOK_GROUP)


def kind_of(group: str) -> str:
    """``sage.retrievers`` → ``retriever``."""
    return group.removeprefix(PREFIX).removesuffix("s")


def group_of(kind: str) -> str:
    """``retriever``, ``retrievers`` or ``sage.retrievers`` → ``sage.retrievers``.

    Raises:
        PluginError: There is no such kind.
    """
    name = kind.lower().removeprefix(PREFIX).replace("-", "_")
    for group in GROUPS:
        if name in (kind_of(group), group.removeprefix(PREFIX)):
            return group
    import difflib  # noqa: PLC0415 - costs more than the whole of has_listeners()

    kinds = [kind_of(group) for group in GROUPS]
    near = difflib.get_close_matches(name, kinds, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise PluginError(f"there is no kind of plugin {kind!r}; {hint}known: {', '.join(kinds)}")
