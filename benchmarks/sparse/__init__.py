"""What sparse computation costs and saves: ``python -m benchmarks.sparse``."""
