"""Which snippets mean the same: neighbours, maximum spanning forests, and the components that give the positives."""
