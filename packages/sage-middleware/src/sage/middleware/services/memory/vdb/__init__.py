"""Inside of the vector collection.

A query goes ``filters`` (parse) → ``columns`` (which slots match) → ``planner`` (how to search) →
``scan`` (approximate candidates) → exact scores → rows.
"""
