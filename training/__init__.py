"""How the demo weights are made: ``python -m training --help``, from the root of the repository."""
