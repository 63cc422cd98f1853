"""The image side of ActiveSAM and its baselines, done once per frame."""
