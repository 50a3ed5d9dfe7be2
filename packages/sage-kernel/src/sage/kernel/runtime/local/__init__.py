"""local of the SAGE kernel."""
