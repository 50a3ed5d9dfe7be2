"""Configuration of the documentation: ``sphinx-build docs build/docs``. Needs no network."""

from importlib import metadata
from typing import Any

from pygments.lexers.special import TextLexer

project = "SAGE"
author = "The SAGE authors"
copyright = "The SAGE authors"
release = metadata.version("isage")

extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"SAGE {release}"
nitpicky = True


def setup(app: Any) -> None:
    """Show diagrams as their text: no page loads scripts from elsewhere."""
    app.add_lexer("mermaid", TextLexer)
