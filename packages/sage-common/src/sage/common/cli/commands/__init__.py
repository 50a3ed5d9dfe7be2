"""Commands that come with the foundation; each module registers under ``sage.commands``."""
