"""Maximum spanning forests: the components at every threshold, exact from the floor up."""
