"""How many queries at once: by the memory a test says there is."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from activesam_ros.pipeline import Network
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.model import Prompts
from activesam_ros.segmentation.device.bucket_size import automatic, free_memory, query_bytes
from activesam_ros.segmentation.device.support import DeviceSupport
from activesam_ros.segmentation.device.transfer import Transfer
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings

GB = 10**9
SAM3 = Sam3Config()


@pytest.mark.parametrize(
    ("card_gb", "dtype", "size"),
    [
        (141, torch.bfloat16, 32),
        (8, torch.bfloat16, 32),
        (8, torch.float32, 16),
        (4, torch.bfloat16, 8),
        (2.1, torch.bfloat16, 1),
    ],
)
def test_by_the_memory_of_a_card(card_gb: float, dtype: torch.dtype, size: int) -> None:
    # Weights of the image model, and 1 GB for CUDA and a desktop.
    free = int((card_gb - 1) * GB) - 480_000_000 * dtype.itemsize
    assert automatic(free, query_bytes(SAM3, dtype, SAM3.resolution)) == size


@given(st.integers(0, 200 * GB), st.integers(1, GB))
def test_a_power_of_two_within_a_quarter(free: int, per_query: int) -> None:
    size = automatic(free, per_query)
    assert size in (1, 2, 4, 8, 16, 32)
    assert size == 1 or size * per_query <= free / 4
    assert size == 32 or 2 * size * per_query > free / 4


def test_a_cpu_has_a_fixed_size() -> None:
    assert free_memory(torch.device("cpu")) is None
    assert automatic(None, 10**12) == 32


def test_the_segmenter_asks_where_the_settings_leave_it_open(network: Network) -> None:
    classes = (VocabularyClass(id=0, names=("thing",), color=(0, 0, 0), hypernyms=((),)),)
    table = network.compile(Vocabulary("one", classes), Settings()).table
    per_query = query_bytes(network.config, network.dtype, network.config.resolution)
    asked = []

    def card(device: torch.device) -> int:
        asked.append(device)
        return 4 * 5 * per_query

    support = DeviceSupport(Transfer(network.device), free_memory=card)
    automatically = Segmenter(network.model, table, Settings(), support=support)
    assert automatically.bucket_size == 4
    assert len(asked) == 1
    assert automatically.with_bucket_size(1).bucket_size == 1
    fixed = automatically.with_settings(Settings(bucket_size=9))
    assert fixed.bucket_size == 9
    assert len(asked) == 1


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive; ``peak`` is the most at any time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                key = storage._cdata
                if key not in self._alive:
                    self._alive[key] = storage.nbytes()
                    weakref.finalize(storage, self._alive.pop, key)
        self.peak = max(self.peak, sum(self._alive.values()))
        return result


@torch.inference_mode()
def test_a_query_takes_about_what_is_reckoned(demo_network: Network) -> None:
    model, config = demo_network.model, demo_network.config
    features = model.encode_image(torch.rand(1, 3, config.resolution, config.resolution))

    def peak(queries: int) -> int:
        tokens = torch.randn(queries, 36, config.d_model)
        prompts = Prompts(tokens, torch.zeros(queries, 36, dtype=torch.bool))
        with LiveBytes() as live:
            model.decode(features, prompts)
        return int(live.peak)

    taken = (peak(12) - peak(4)) / 8
    reckoned = query_bytes(config, model.dtype, config.resolution)
    assert 0.6 * reckoned < taken <= reckoned
