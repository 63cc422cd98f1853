"""Metrics, measurements, results.json, and the comparison of two runs."""
