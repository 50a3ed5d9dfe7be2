"""The operator library: sources, sinks and the steps of retrieval-augmented generation."""
