"""Latency budget and memory limits."""
