"""Divide, run and resume an evaluation."""
