"""What a training wants of each video: weak labels, cleaned by parsers of its own, or pseudo-labels by others."""
