"""The text side, once per vocabulary: files, prompt expansion, text features, cache."""
