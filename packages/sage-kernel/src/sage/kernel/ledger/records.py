"""Record ids as text: ``uid:n``, ``/k`` for the k-th output made of a record, ``@k`` for a lap."""

from __future__ import annotations

import re

_ID = re.compile(r"^(.*:\d+)((?:[/@]\d+)*)$", re.DOTALL)


def root_of(record: str) -> str:
    """The record that a source, or a step that numbers its own outputs, began with."""
    found = _ID.match(record)
    return record if found is None else found.group(1)


def lineage_of(record: str) -> list[str]:
    """The record and those it was made of, the first one first."""
    found = _ID.match(record)
    if found is None:
        return [record]
    chain = [found.group(1)]
    for mark, number in re.findall(r"([/@])(\d+)", found.group(2)):
        before = chain[-1]
        chain += [f"{before}@{lap}" for lap in range(1, int(number))] if mark == "@" else []
        chain.append(f"{before}{mark}{number}")
    return chain


def origin_of(record: str) -> str:
    """Uid of the source or step that numbered the record."""
    return root_of(record).rpartition(":")[0]
