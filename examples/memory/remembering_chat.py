"""A conversation over two jobs: history, long-term memory, and no echo of what was recalled.

The "model" is a function, so that nothing but SAGE is needed. The first job tells facts; the second
asks, answers from memory, and writes its answers back: the write gate refuses them as echoes.

Prints::

    told:
      Anna drinks green tea
      Anna lives in Lisbon
      Boris plays chess on Sundays
    Where does Anna live? -> I recall that Anna lives in Lisbon
    What does Anna drink? -> I recall that Anna drinks green tea
    turns in the session: 4
    memories after the conversation: 3
"""

import tempfile

from sage.api import LocalEnvironment
from sage.lib.memory import MemoryRecall, MemoryWrite, SessionMemory
from sage.lib.types import Answer, Query, Retrieved
from sage.middleware.services.memory import MemoryService

TOLD = (
    "Anna lives in Lisbon",
    "Anna drinks green tea",
    "Anna lives in Lisbon.",  # known already
    "The password of Anna is tr0ub4dor&3",  # a secret
    "Boris plays chess on Sundays",
)
ASKED = ("Where does Anna live?", "What does Anna drink?")


def answer(item: Retrieved) -> Answer:
    """Stand in for a model: says what memory says."""
    return Answer(text=f"I recall that {item.passages[0].text}", query=item.query)


def main() -> None:
    """Tell, ask, and look at what is remembered."""
    with tempfile.TemporaryDirectory() as folder:
        config = {"data_dir": folder, "embedding_model": "hash"}

        telling = LocalEnvironment("telling")
        telling.set_memory(config)
        telling.from_collection(TOLD).map(MemoryWrite).sink(lambda item: None)
        telling.submit().wait()
        with MemoryService(config) as memory:
            print(
                "told:", *sorted(entry["text"] for entry in memory.long_term.entries()), sep="\n  "
            )

        said: list[Answer] = []
        asking = LocalEnvironment("asking")
        asking.set_memory(config)
        (
            asking.from_collection([Query(text=q, metadata={"session": "anna"}) for q in ASKED])
            .map(SessionMemory)
            .map(MemoryRecall, {"top_k": 1})
            .map(answer)
            .map(SessionMemory)
            .map(MemoryWrite, {"what": "answer"})
            .sink(said.append)
        )
        asking.submit().wait()

        with MemoryService(config) as memory:
            for one in said:
                print(f"{one.query.text} -> {one.text}")
            print(f"turns in the session: {len(memory.history('anna')['turns'])}")
            print(f"memories after the conversation: {len(memory.long_term.entries())}")


if __name__ == "__main__":
    main()
