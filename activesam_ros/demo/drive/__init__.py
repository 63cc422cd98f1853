"""A drive through the demo world, and its recording."""
