"""Conformance suite of routers.

The author of a router subclasses the suite in a test module and says how one is made::

    class TestMine(RouterSuite):
        routes = ("short", "long")

        def make(self):
            return MyRouter({"limit": 20})

pytest then runs every contract below, outside of a job and inside of one.
"""

from __future__ import annotations

import copy
from collections import Counter
from functools import partial
from typing import Any, ClassVar

from sage.api.local_environment import LocalEnvironment
from sage.lib.types import Document, Query, Retrieved
from sage.middleware.testing.retrievers import run_opened

ITEMS: tuple[Any, ...] = (
    "Why?",
    "Why is the sky blue in the summer of northern countries?",
    {"question": "How do I pay?", "id": "q", "topic": "billing"},
    Query(text="It does not start", id="7", metadata={"topic": "support"}),
    Retrieved(query=Query(text="x"), passages=(Document(id="d", text="t", score=0.4),)),
    "日本語の質問 {x} %s",
)


class RouterSuite:
    """What users of a router rely on.

    Attributes:
        routes: Every route that it may name.
        same: Whether an item always takes the same route.
    """

    routes: ClassVar[tuple[str, ...]] = ()
    same: ClassVar[bool] = True

    def make(self) -> Any:
        """A new router."""
        raise NotImplementedError

    def items(self) -> list[Any]:
        """What it is given."""
        return list(ITEMS)

    def run(self, *items: Any) -> list[Any]:
        """Open a router, give it the items, close it."""
        return run_opened(self.make(), *items)

    def test_every_item_has_a_known_route(self) -> None:
        assert set(self.run(*self.items())) <= set(self.routes)

    def test_the_same_item_takes_the_same_route(self) -> None:
        if self.same:
            assert self.run(*self.items()) == self.run(*self.items())

    def test_items_are_not_changed(self) -> None:
        items = self.items()
        before = copy.deepcopy(items)
        self.run(*items)
        assert items == before

    def test_in_a_job_every_item_leaves_on_one_route(self) -> None:
        items = self.items()
        found: list[tuple[str, Any]] = []
        env = LocalEnvironment("suite")
        routed = env.from_collection(items).route(self.make())
        for name in self.routes:
            routed[name].sink(partial(_keep, found, name))
        env.submit().wait()
        assert Counter(repr(item) for _, item in found) == Counter(map(repr, items))
        if self.same:
            expected = zip(self.run(*items), map(repr, items), strict=True)
            assert sorted((n, repr(i)) for n, i in found) == sorted(expected)


def _keep(found: list[tuple[str, Any]], route: str, item: Any) -> None:
    found.append((route, item))
