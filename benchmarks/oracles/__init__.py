"""Straightforward computations that the cheaper ones are compared with."""
