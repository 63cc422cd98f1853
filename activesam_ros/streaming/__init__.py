"""The active set over time, for video."""
