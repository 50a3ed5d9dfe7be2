"""Alias root of ``sage.common``: old names of the field, re-exported."""
