"""Shards behind URLs: fetched in blocks into a cache that all readers of a host share."""
