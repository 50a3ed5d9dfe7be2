"""Fill the collection ``knowledge_base`` from the Markdown files in ``knowledge/``."""

from pathlib import Path

from sage.lib.transform import MarkdownSplitter
from sage.lib.types import Document
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.utils.embedding.embedding_api import apply_embedding_model

splitter = MarkdownSplitter({"max_chars": 600})
passages = [
    passage
    for file in sorted(Path("knowledge").glob("*.md"))
    for passage in splitter.execute(Document(id=file.name, text=file.read_text(encoding="utf-8")))
]
model = apply_embedding_model("default")
with MemoryManager("memory") as manager:
    if manager.has_collection("knowledge_base"):
        manager.delete_collection("knowledge_base")
    collection = manager.create_collection(
        "knowledge_base", backend_type="VDB", embedding_model=model, dim=model.get_dim()
    )
    collection.insert_many(
        [passage.text for passage in passages],
        [dict(passage.metadata) for passage in passages],
        ids=[passage.id for passage in passages],
    )
print(f"{len(passages)} passages in the collection knowledge_base (embedding: {model.name})")
