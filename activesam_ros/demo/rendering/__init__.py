"""What the demo world looks like: cameras, textures, light, effects."""
