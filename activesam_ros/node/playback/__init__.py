"""Processes beside the node that play recordings to it and record its topics."""
