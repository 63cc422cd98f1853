"""Signatures of a vocabulary's classes, estimated from images without labels (ActiveSAM 2)."""
