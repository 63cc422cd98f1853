"""The golden network, alone and ready to segment."""

from __future__ import annotations

from pathlib import Path

import pytest

from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.sam3.model import Sam3ImageModel


@pytest.fixture(scope="session")
def network(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Network:
    options = NetworkOptions(
        weights=golden_dir / "model.pt", device="cpu", cache_dir=tmp_path_factory.mktemp("cache")
    )
    return load_network(options)


@pytest.fixture(scope="session")
def model(network: Network) -> Sam3ImageModel:
    return network.model
