"""The device of the network: copies, memory, timing, and which faster ways it has."""
