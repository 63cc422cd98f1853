"""Plain implementations, with which tests and benchmarks compare the fast ones."""
