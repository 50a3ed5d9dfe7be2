"""Routes of the JobManager by subject: ``system``, ``jobs``, ``observe``, ``logs``, ``services``.

Predecessor: ``sage.kernel.jobmanager.app``; successor: ``sage.kernel.jobmanager.manager``.
"""
