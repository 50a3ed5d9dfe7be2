"""Ask documents a question, offline: BM25 finds passages, the answer is a quotation of one.

Prints::

    Q: When did the lighthouse open?
    A: 1884
    Q: Who keeps the archive?
    A: Ada Moreau
"""

from sage.api import LocalEnvironment
from sage.lib.rag.generator import ExtractiveGenerator
from sage.lib.rag.promptor import QAPromptor
from sage.lib.rag.retriever import BM25Retriever
from sage.lib.types import Answer

DOCUMENTS = [
    "The lighthouse opened in 1884 and was automated a hundred years later.",
    "The archive is kept by Ada Moreau, who also leads the guided walks.",
    "Ferries leave from the south pier on weekdays.",
]


def show(answer: Answer) -> None:
    """Print one answer; its passages, scores and prompt are there as well."""
    print(f"Q: {answer.query.text}\nA: {answer.text}")


env = LocalEnvironment("ask")
(
    env.from_collection(["When did the lighthouse open?", "Who keeps the archive?"])
    .map(BM25Retriever, {"documents": DOCUMENTS, "top_k": 1})
    .map(QAPromptor, {"template": "{context}\n\n{query}"})
    .map(ExtractiveGenerator, {"answer": "span"})
    .sink(show)
)
env.submit().wait()
