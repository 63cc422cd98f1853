"""What streaming costs and gains: ``python -m benchmarks.streaming``."""
