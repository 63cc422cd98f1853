"""Where samples and labels come from."""
