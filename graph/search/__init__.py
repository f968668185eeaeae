"""Who is near whom: the k most similar snippets of every snippet, exactly or by an index."""
