"""Count words: state per key, one running count for each word.

Prints::

    dataflow 1
    is 1
    state 1
    is 2
    dataflow 2
"""

from sage.api import LocalEnvironment

env = LocalEnvironment("word-count")
(
    env.from_collection(["Dataflow is state", "is dataflow"])
    .flatmap(lambda line: line.lower().split())
    .map(lambda word: (word, 1))
    .key_by(lambda pair: pair[0])
    .reduce(lambda count, pair: (count[0], count[1] + pair[1]))
    .map(lambda pair: f"{pair[0]} {pair[1]}")
    .sink(print)
)
env.submit().wait()
