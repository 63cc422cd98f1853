"""Divide work on images into parts, run them here, in processes or on a cluster, and resume."""
