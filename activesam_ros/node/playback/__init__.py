"""The bag player and the recorder: processes beside the node."""
