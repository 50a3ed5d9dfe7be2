"""The kinds of collection; ``base_collection`` holds what they share."""
