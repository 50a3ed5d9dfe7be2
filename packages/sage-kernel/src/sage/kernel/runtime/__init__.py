"""runtime of the SAGE kernel."""
