"""The engine: DeepSpeed around the encoder, its settings, its state."""
