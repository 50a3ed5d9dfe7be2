"""What every HTTP server of SAGE shares: tokens, the guard, where it listens, the client.

Server: ``tokens`` → ``guard`` → ``listening``. Client: ``transport``. Predecessor:
``sage.common.secrets``; successors: the memory server and the JobManager. Importing this loads no
server.
"""
