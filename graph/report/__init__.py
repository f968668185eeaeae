"""What the graph says about itself: the sweep over thresholds, findings, plots, a page."""
