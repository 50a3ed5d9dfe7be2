"""Operators of retrieval-augmented generation: retriever → promptor → generator."""
