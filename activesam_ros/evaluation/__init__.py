"""Recordings, benchmarks and metrics."""
