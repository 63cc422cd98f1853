"""Segment a recording offline."""
