"""The parameters of the node."""
