"""Projects to start from: each folder here is one, copied by ``sage app new``."""
