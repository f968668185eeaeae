"""Whether the encoder learns: the health of held-out embeddings."""
