"""Services of SAGE: memory; operators reach them by name through their context."""
