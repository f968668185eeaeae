"""The ranks of a stage while they live: who they are, who watches over them, and how their end is known."""
