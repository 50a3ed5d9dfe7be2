"""operators of the SAGE kernel."""
