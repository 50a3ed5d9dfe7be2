"""Functions that spec tests name as ``module:function``; importable through a fixture."""

from __future__ import annotations

import subprocess
from typing import Any

borrowed = subprocess.Popen
imported: list[bool] = [True]


def increase(x: int) -> int:
    return x + 1


def is_big(x: int) -> bool:
    return x > 3


def parity(x: int) -> str:
    return "even" if x % 2 == 0 else "odd"


def add(a: int, b: int) -> int:
    return a + b


class Times:
    def __init__(self, config: Any = None, offset: int = 0) -> None:
        self.factor = config["factor"]
        self.offset = offset

    def execute(self, x: int) -> int:
        return x * self.factor + self.offset


class Prices:
    pass
