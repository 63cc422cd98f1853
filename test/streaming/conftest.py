"""The golden network, ready to segment."""

from __future__ import annotations

from pathlib import Path

import pytest

from activesam_ros.pipeline import Network, NetworkOptions, load_network


@pytest.fixture(scope="session")
def network(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Network:
    options = NetworkOptions(
        weights=repository / "test" / "data" / "golden" / "model.pt",
        device="cpu",
        cache_dir=tmp_path_factory.mktemp("cache"),
    )
    return load_network(options)
