"""The process of a job: ``python -m sage.kernel.jobmanager.runner JOB_DIR ATTEMPT CONTROL_FD``.

The only place where code of users is loaded. ``output`` (its log) → ``host`` (what the code
submits) → ``requests`` (the control socket) → ``execute`` → ``__main__``. Predecessor:
``sage.kernel.jobmanager.supervisor``; successor: ``sage.kernel.runtime``.
"""
