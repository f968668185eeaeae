"""The making of an extraction: from files to clips, to features, to shards, with several processes that decode."""
