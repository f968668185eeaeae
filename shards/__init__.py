"""What a video is and how it is stored: keys, features, label tables, WebDataset shards, and their readers."""
