"""The contrastive loss over all pairs of the global batch: pairs, tiles, normalisers, gradients."""
