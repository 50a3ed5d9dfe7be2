"""The command line: ``sage COMMAND`` and ``sage-COMMAND``.

Reading order: ``entry`` → ``shell`` → ``commands``; ``output`` and ``exits`` are for every command.
Predecessor: ``sage.common.plugins``. Importing this package loads nothing else of SAGE.
"""

from sage.common.cli.entry import (
    main,
    main_config,
    main_doctor,
    main_license,
    main_operators,
    main_ssl_cert,
    standalone,
    version,
)

__all__ = [
    "main",
    "main_config",
    "main_doctor",
    "main_license",
    "main_operators",
    "main_ssl_cert",
    "standalone",
    "version",
]
