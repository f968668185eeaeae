"""From forests to positives: thresholds without labels, and components that are not chained nonsense."""
