"""graph of the SAGE kernel."""
