"""observe of the SAGE kernel."""
