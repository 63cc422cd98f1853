"""How fast the package is: ``python -m benchmarks --help``, from the root of the repository."""
