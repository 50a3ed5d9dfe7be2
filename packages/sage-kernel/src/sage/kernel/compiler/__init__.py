"""compiler of the SAGE kernel."""
