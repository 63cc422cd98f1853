"""Sources of samples: recordings and the eight benchmarks."""
