"""The demo run: processes, summary, pictures."""
