"""Old name of ``sage.common.config``."""
