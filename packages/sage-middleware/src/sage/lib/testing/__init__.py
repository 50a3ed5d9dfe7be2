"""Conformance suites of operators for plugin authors, where they need the types of the library."""
