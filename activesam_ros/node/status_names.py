"""Names in the diagnostics that other processes look for."""

FRAMES_WAITING = "frames_waiting"


def network_status_name(node: str) -> str:
    """The status about network and vocabulary of a node, given by its full name."""
    return f"{node.lstrip('/')}: network"
