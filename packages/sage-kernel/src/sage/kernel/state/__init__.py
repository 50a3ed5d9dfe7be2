"""state of the SAGE kernel."""
