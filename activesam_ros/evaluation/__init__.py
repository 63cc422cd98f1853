"""Evaluate methods on recordings and benchmarks."""
