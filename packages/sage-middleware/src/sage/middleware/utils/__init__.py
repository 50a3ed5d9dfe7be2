"""Parts that services and operators share; predecessor ``sage.kernel``, used by ``services``."""
