"""What a run is and where it is started: settings, stages, processes, tracking. The floor of the house."""
