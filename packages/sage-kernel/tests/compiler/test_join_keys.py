"""A join that is fused with both of its branches keeps the keys of its two inputs apart."""

from __future__ import annotations

from pathlib import Path

from sage.api import LocalEnvironment


def test_a_failing_pair_of_the_right_side_is_dead_lettered(tmp_path: Path) -> None:
    def combine(left: int, right: int) -> tuple[int, int]:
        if right == 5:
            raise ValueError("five")
        return left, right

    env = LocalEnvironment("keys", config={"dead_letter_dir": tmp_path})
    source = env.from_collection(range(8))
    left = source.filter(lambda x: x < 2).key_by(lambda x: x % 2)
    right = source.filter(lambda x: x >= 2).key_by(lambda x: x % 2)
    pairs: list[tuple[int, int]] = []
    left.connect(right).join(combine, on_error="dead_letter", name="combine").sink(pairs.append)
    job = env.submit()
    job.wait(30)
    assert sorted(pairs) == [(0, 2), (0, 4), (0, 6), (1, 3), (1, 7)]
    (letter,) = job.dead_letters()
    assert letter["operator"] == "combine"
    assert letter["item"] == [1, 5]
