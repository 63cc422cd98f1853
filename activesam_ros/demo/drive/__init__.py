"""A drive through the demo world: its options, its frames, its recording."""
