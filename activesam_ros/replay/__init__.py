"""Segment a recording offline into a recording of masks."""
