"""Managed jobs: a daemon that supervises one process per job, its store, its client.

Server side: ``states`` → ``settings`` → ``layout`` → ``store`` → ``supervisor`` → ``routes`` →
``app`` → ``daemon``. In the job's process: ``runner``. Client side: ``model`` → ``transport`` →
``client``; ``launch`` starts and stops a daemon. Predecessor: ``sage.api.remote_environment``;
successor: ``sage.kernel.runtime``. FastAPI and uvicorn (extra ``server``) are imported by the
daemon only.
"""
