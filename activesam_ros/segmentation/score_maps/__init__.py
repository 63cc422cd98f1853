"""Score maps of queries, and how a GPU kernel merges them into the scores of every pixel."""
