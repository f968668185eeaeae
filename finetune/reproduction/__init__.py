"""The paper's tables again: their rows, the embeddings some of them read, the results, and how these are shown."""
