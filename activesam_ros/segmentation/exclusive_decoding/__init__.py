"""Exclusive concept decoding: which class each pixel gets, given signatures (ActiveSAM 2)."""
