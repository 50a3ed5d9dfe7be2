"""Services and model clients behind the operator library: memory, embedding, models."""
