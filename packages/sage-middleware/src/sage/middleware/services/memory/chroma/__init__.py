"""The vector collection on chromadb: filters and metadata as chromadb has them, and its clients."""
