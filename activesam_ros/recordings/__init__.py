"""Read recordings: files of every format, messages, image topics, pixels."""
