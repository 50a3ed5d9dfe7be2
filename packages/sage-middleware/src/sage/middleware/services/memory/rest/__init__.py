"""Memory over HTTP: the server's application and the client with the manager's interface.

Server: ``tokens`` → ``bodies``, ``failures`` → ``app``, run by ``sage.common.serving``. Client:
``transport`` → ``remote_vdb``, ``remote_calls``, ``remote_graph`` → ``client``. FastAPI and
uvicorn (extra ``server``) are imported by ``create_app`` and ``serve`` only; the client needs
nothing.
"""
