"""Real servers on loopback for tests and benchmarks of pipelines that call models."""
