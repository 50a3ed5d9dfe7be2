"""Check that what is installed is this checkout: the step ``quickstart.sh`` ends its set-up with.

Exits 0 and prints one line when all is well; otherwise names each fault and exits 1.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from importlib import metadata

PORTIONS = (
    "sage",
    "sage.common",
    "sage.api",
    "sage.kernel",
    "sage.middleware",
    "sage.lib",
    "sage.apps",
)


def foreign_distributions() -> Iterator[str]:
    """Yield each installed ``isage*`` that did not come from a file URL.

    The names on the public registry belong to others: one from there is not ours.
    """
    for found in metadata.distributions():
        name = found.name.lower().replace("_", "-")
        if name == "isage" or name.startswith("isage-"):
            origin = json.loads(found.read_text("direct_url.json") or "{}").get("url", "")
            if not origin.startswith("file://"):
                yield f"{name} {found.version} came from {origin or 'an index'}, not this checkout"


def broken_imports() -> Iterator[str]:
    """Yield each portion of the namespace that cannot be imported."""
    for portion in PORTIONS:
        try:
            module = importlib.import_module(portion)
        except ImportError as error:
            yield f"import {portion}: {error}"
            continue
        if portion == "sage" and getattr(module, "__file__", None):
            yield f"{module.__file__} exists: no distribution may ship sage/__init__.py"


def main() -> int:
    """Run every check; return the exit status."""
    faults = [*foreign_distributions(), *broken_imports()]
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    if not faults:
        python = ".".join(map(str, sys.version_info[:3]))
        print(f"SAGE {metadata.version('isage')} on Python {python}: verified")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
