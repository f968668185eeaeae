"""What is compared: one memory-mapped matrix a feature, made fit for cosines."""
