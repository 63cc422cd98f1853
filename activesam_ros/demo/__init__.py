"""The synthetic driving world and the demo that runs on it."""
