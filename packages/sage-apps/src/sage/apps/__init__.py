"""Ready applications, each runnable by ``sage app run NAME``."""
