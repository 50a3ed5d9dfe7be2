"""Foundation of SAGE: errors, configuration, plugins, paths and the command-line shell.

Comes before ``sage.api`` and ``sage.kernel``; imports nothing of SAGE.
"""
