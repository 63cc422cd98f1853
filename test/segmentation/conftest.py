"""The golden network, ready to segment."""

from __future__ import annotations

from pathlib import Path

import pytest

from activesam_ros.demo.untrained import WEIGHTS_NAME
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.resources import weights_dir


@pytest.fixture(scope="session")
def network(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Network:
    options = NetworkOptions(
        weights=golden_dir / "model.pt", device="cpu", cache_dir=tmp_path_factory.mktemp("cache")
    )
    return load_network(options)


@pytest.fixture(scope="session")
def demo_network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """The network that ships, which unlike the golden one has learned what is there."""
    options = NetworkOptions(
        weights=weights_dir() / "demo" / WEIGHTS_NAME,
        device="cpu",
        cache_dir=tmp_path_factory.mktemp("cache"),
    )
    return load_network(options)
