"""The parser: from features and weak labels to who is heard and seen when, and the ten F-scores that judge it."""
