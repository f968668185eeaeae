"""The planted world: what stands in for features that may not be redistributed. `shards.synthesise` renders it."""
