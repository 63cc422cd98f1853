"""Makes the demo weights: ``python -m training --help``, from the root of the repository."""
