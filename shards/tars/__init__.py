"""What is inside one tar: its members, where they lie, how they are laid out, and how they are read."""
