"""From video files to features: decoding, feature networks, and the stage that brings both together."""
