"""Faster implementations of the network: compiled, recorded, in eight bits, fused kernels."""
