"""What the parser is made of: attention, blocks, pooling, and the modality discriminator."""
