"""The cross-modal transformer: global batches, the all-pairs loss, DeepSpeed, checkpoints, export of embeddings."""
