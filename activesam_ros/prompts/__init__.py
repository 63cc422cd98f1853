"""The text side, done once per vocabulary."""
