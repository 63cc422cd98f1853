"""What it looks like: cameras, textures, light, effects."""
