"""A page to look at: a video with what is heard and seen in it, in one file that needs nothing else."""
