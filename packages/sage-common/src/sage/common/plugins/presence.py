"""Whether any distribution listens to hooks, found out in about two milliseconds.

A job asks this once when it starts, and most have no listener: importing ``importlib.metadata`` and
pluggy to learn that would cost several times more than the answer.
"""

from __future__ import annotations

import os
import sys

from sage.common.plugins.groups import HOOK_GROUP

_ENDINGS = (".dist-info", ".egg-info")


def has_listeners() -> bool:
    """Whether a distribution on ``sys.path`` registers anything under ``sage.plugins``.

    Reads only ``entry_points.txt`` files; nothing is imported. True may still turn out to be a
    broken plugin; false is certain.
    """
    marker = f"[{HOOK_GROUP}]".encode()
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - pathlib is not loaded yet
        except NotADirectoryError:
            return _ask_metadata()  # a zip archive can hold distributions too
        except OSError:
            continue
        for name in names:
            if name.endswith(_ENDINGS):
                try:
                    with open(f"{folder or '.'}/{name}/entry_points.txt", "rb") as file:  # noqa: PTH123
                        if marker in file.read():
                            return True
                except OSError:
                    continue
    return False


def _ask_metadata() -> bool:
    from sage.common.plugins.scan import installed  # noqa: PLC0415 - the costly way

    return bool(installed().entries[HOOK_GROUP])
