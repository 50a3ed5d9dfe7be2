"""Runs that survive their process: barriers, snapshots, checkpoints, savepoints.

Reading order: ``settings`` → ``runs`` → ``coordinator`` → ``store``. Predecessor:
``sage.kernel.state``; successor: ``sage.kernel.runtime``.
"""
