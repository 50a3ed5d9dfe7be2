"""Reading without a model: from a question and passages to a short span.

Reading order: ``question`` (what kind of answer is asked for), ``sentences`` (tokens and sentences
with offsets), ``features`` (what speaks for a span), ``weights`` (how much), ``reader`` (all of
it).
"""
