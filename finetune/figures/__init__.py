"""What is drawn: scores a category, the labels of a corpus, the timeline of a video."""
