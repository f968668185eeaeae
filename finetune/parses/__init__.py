"""A parse as others read it: events with their confidence, JSON, label files for Audacity and ELAN."""
