"""Where features come from: folders of `.npy` files, AudioSet's TFRecords, foreign WebDataset tars."""
