"""The call ledger: every effectful call recorded once, found again after a crash, priced.

Reading order: ``current`` (which record is being worked on) → ``codeversion`` → ``payloads`` →
``journal`` (what is committed) → ``index`` (the tables made from it) → ``writer`` (group commit) →
``store`` (the files of a ledger) → ``run`` (the calls of one run) → ``calls`` (those of one step) →
``prices`` → ``report`` (``why`` and ``cost``) → ``forgetting``. Predecessor:
``sage.kernel.state.codec``; successor: ``sage.kernel.runtime``. Importing this package imports
nothing.
"""
