"""A complete SAGE plugin: one retriever (``retriever``) and one listener (``journal``)."""
