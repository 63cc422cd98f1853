"""How often the host waits for the device: once for the active set and once for the results.

The network runs on the meta device, whose tensors have no values. Whatever needs a value raises:
.item(), nonzero(), a condition, and every operation whose output shape depends on values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from activesam_ros.demo.untrained import write_untrained
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary, VocabularyClass
from activesam_ros.sam3.model import ImageFeatures, Sam3ImageModel
from activesam_ros.segmentation.device.support import DeviceSupport
from activesam_ros.segmentation.device.transfer import PendingCopy, Transfer
from activesam_ros.segmentation.exclusive_decoding.class_maps import ClassMaps
from activesam_ros.segmentation.exclusive_decoding.decoder import ConceptDecoder
from activesam_ros.segmentation.exclusive_decoding.kernel_or_bands import ConceptKernel
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.result import Segmentation, Wanted
from activesam_ros.segmentation.score_maps.kernel_or_loop import ScoreMerge
from activesam_ros.segmentation.score_maps.tiles import Axis
from activesam_ros.segmentation.score_maps.weighted_maps import BestTwo, WeightedMaps
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.segmentation.signatures import Signatures
from activesam_ros.settings import Settings
from activesam_ros.streaming.streams import StreamingSegmenter

META = torch.device("meta")
CPU = torch.device("cpu")
IMAGE = np.zeros((50, 70, 3), np.uint8)


class NoSlowCopies(TorchDispatchMode):
    """Raises where values go between the host and the device other than without waiting."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        tensors = [part for part in tree_leaves((args, kwargs, result)) if isinstance(part, Tensor)]
        # A number on the host is handed to a kernel with its other arguments.
        devices = {tensor.device.type for tensor in tensors if tensor.ndim or tensor.device == META}
        if len(devices) > 1:
            names = [argument.name for argument in func._schema.arguments]
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            if not given.get("non_blocking"):
                raise AssertionError(f"{func} waits.")
        return result


class NoListsToTheDevice(TorchFunctionMode):
    """Raises where a list or an array becomes a tensor on the device, which waits."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if (
            func in (torch.tensor, torch.as_tensor)
            and torch.device(kwargs.get("device", CPU)) != CPU
        ):
            raise AssertionError(f"{func} waits.")
        return func(*args, **kwargs)


@contextmanager
def watched() -> Iterator[None]:
    with NoSlowCopies(), NoListsToTheDevice():
        yield


class CountedCopy(PendingCopy):
    """Notes when it is waited for."""

    def __init__(self, tensors: tuple[Tensor, ...], waited: list[int]) -> None:
        super().__init__(tensors, None)
        self._waited = waited

    def wait(self) -> tuple[Tensor, ...]:
        tensors = super().wait()
        self._waited.append(len(tensors))
        return tensors


class CountedTransfer(Transfer):
    """Sends without pinning, and gives back ones."""

    def __init__(self) -> None:
        super().__init__(META, torch.empty)
        self.received: list[int] = []

    def begin(self, *tensors: Tensor) -> PendingCopy:
        assert all(tensor.device == META for tensor in tensors)
        ones = (torch.ones(tensor.shape, dtype=tensor.dtype) for tensor in tensors)
        return CountedCopy(tuple(ones), self.received)


def checked(
    so_far: BestTwo, classes: Tensor, maps: WeightedMaps, rows: Axis, columns: Axis
) -> None:
    """In the kernel's place: checks that its arguments have the shapes and dtypes it reads."""
    queries, count, height, width = maps.maps.shape
    assert maps.maps.is_contiguous()
    assert maps.maps.dtype == torch.bfloat16
    for part in (maps.offsets, maps.weights, maps.order):
        assert part.shape == (queries, count)
        assert part.is_contiguous()
    assert maps.offsets.dtype == maps.weights.dtype == torch.float32
    assert maps.order.dtype == torch.int64
    assert maps.counts.shape == classes.shape == (queries,)
    assert maps.counts.dtype == classes.dtype == so_far.index.dtype == torch.int32
    assert so_far.best.shape == so_far.index.shape
    assert so_far.best.is_contiguous()
    assert (len(rows), len(columns)) == IMAGE.shape[:2]
    assert int(rows.below.shape[0] * height * width) > 0


def checked_concepts(
    decoder: ConceptDecoder, maps: ClassMaps, rows: Axis, columns: Axis
) -> tuple[Tensor, Tensor]:
    """In the kernel's place: checks that its arguments have the shapes and dtypes it reads."""
    classes, count = len(decoder.classes), len(maps.maps)
    assert maps.maps.is_contiguous()
    assert maps.maps.dtype == torch.bfloat16
    for part in (maps.offsets, maps.weights, maps.order):
        assert part.shape == (count,)
        assert part.is_contiguous()
    assert maps.offsets.dtype == maps.weights.dtype == decoder.signatures.dtype == torch.float32
    assert (maps.order.dtype, maps.starts.dtype) == (torch.int64, torch.int32)
    assert maps.starts.shape == (classes + 1,)
    assert decoder.signatures.shape == (2 * classes, classes)
    assert decoder.biases.shape == (2 * classes,)
    assert decoder.classes.dtype == decoder.unscored.dtype == torch.int32
    assert decoder.null_shift.shape == decoder.calibrated.shape == (classes,)
    size = len(rows), len(columns)
    assert size == IMAGE.shape[:2]
    return (
        torch.empty(size, dtype=torch.int32, device=META),
        torch.empty(size, dtype=torch.float32, device=META),
    )


def some_signatures(classes: int) -> Signatures:
    matrix = (0.5 * np.eye(classes) + 0.1).astype(np.float32)
    mass = np.full(classes, -1.0, np.float32)
    return Signatures(matrix, matrix, mass, np.ones(classes, np.bool_), 0.1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder: Path = tmp_path_factory.mktemp("untrained")
    return load_network(
        NetworkOptions(weights=write_untrained(folder), device="cpu", cache_dir=folder)
    )


def on_meta(
    network: Network, method: Method, settings: Settings, names: int = 12
) -> tuple[Segmenter, CountedTransfer]:
    """A segmenter without values, and what counts its waiting."""
    vocabulary = Vocabulary(
        name="numbers",
        classes=tuple(
            VocabularyClass(id=i, names=(f"thing {i}",), color=(0, 0, 0), hypernyms=((),))
            for i in range(names)
        ),
    )
    on_host = network.segmenter(vocabulary, settings, method)
    transfer = CountedTransfer()
    segmenter = Segmenter(
        copy.deepcopy(network.model).to(META, torch.bfloat16),
        on_host.prompts.to(META, torch.bfloat16),
        settings,
        method,
        support=DeviceSupport(transfer, ScoreMerge(checked, compares=False)),
    )
    return segmenter, transfer


@pytest.mark.parametrize("confidence", [False, True])
def test_decoding_by_signatures_does_not_wait_either(network: Network, confidence: bool) -> None:
    settings = Settings(max_active=6, bucket_size=4, background_class="thing 1")
    plain, transfer = on_meta(network, Method.ACTIVESAM2, settings)
    segmenter = Segmenter(
        plain.model,
        plain.prompts,
        settings,
        Method.ACTIVESAM2,
        support=DeviceSupport(transfer, concepts=ConceptKernel(checked_concepts, compares=False)),
        signatures=some_signatures(12),
    )
    with watched():
        segmenter.segment(IMAGE, Wanted(confidence=confidence))
    # The preview, two buckets of the screening, and the results.
    assert transfer.received == [1, 1, 1, 5 if confidence else 4]


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("threshold", [0.0, 0.3])
@pytest.mark.parametrize("confidence", [False, True])
def test_the_host_waits_for_the_active_set_and_for_the_results(
    network: Network, method: Method, threshold: float, confidence: bool
) -> None:
    settings = Settings(max_active=6, bucket_size=4, background_threshold=threshold)
    segmenter, transfer = on_meta(network, method, settings)
    with watched():
        result = segmenter.segment(IMAGE, Wanted(confidence=confidence))
    assert isinstance(result, Segmentation)
    assert result.labels.shape == IMAGE.shape[:2]
    previews = method in (Method.ACTIVESAM, Method.ACTIVESAM2)
    assert len(result.active_queries) == (6 if previews else 12)
    # activesam2 also waits for the presence of each bucket of 4 that it screens.
    screened = [1, 1] if method is Method.ACTIVESAM2 else []
    outputs = 5 if confidence else 4
    assert transfer.received == [1] * previews + screened + [outputs]


def test_images_of_a_batch_are_previewed_in_one_go(network: Network) -> None:
    segmenter, transfer = on_meta(network, Method.ACTIVESAM, Settings(max_active=6))
    with watched():
        results = list(segmenter.segment_batch([IMAGE] * 3, [Wanted()] * 3, [None] * 3))
    assert len(results) == 3
    assert transfer.received == [3, 4, 4, 4]


def test_frames_of_a_stream_wait_no_more_often(network: Network) -> None:
    """Also where a frame is compared with the one before, for another scene."""
    segmenter, transfer = on_meta(network, Method.ACTIVESAM, Settings(max_active=6))
    stream = StreamingSegmenter(segmenter)
    for stamp_ns in (0, 1):
        with watched():
            stream.frame("front", stamp_ns).segment(IMAGE)
    assert transfer.received == [1, 4, 1, 4]


def test_encoding_begins_before_the_preview_is_waited_for(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter, transfer = on_meta(network, Method.ACTIVESAM, Settings(max_active=6))
    encode, waited_before = Sam3ImageModel.encode_image, []

    def noted(model: Sam3ImageModel, *args: Any) -> ImageFeatures:
        waited_before.append(len(transfer.received))
        return encode(model, *args)

    monkeypatch.setattr(Sam3ImageModel, "encode_image", noted)
    segmenter.segment(IMAGE)
    assert waited_before == [0]


def test_many_queries_are_read_back_in_between(network: Network) -> None:
    segmenter, _ = on_meta(network, Method.FULL, Settings())
    with pytest.raises(RuntimeError, match="meta"):
        segmenter.early_exit().segment(IMAGE)
    with pytest.raises(NotImplementedError):
        segmenter.segment(IMAGE, Wanted(scores=True))
    with pytest.raises(RuntimeError, match="meta"):
        segmenter.early_exit(above=11).segment(IMAGE)  # one too many
    segmenter.early_exit(above=12).segment(IMAGE)


# What the meta device itself raises; NotImplementedError is a RuntimeError.
NO_VALUES = (RuntimeError, "(?i)meta")
# What watched() raises.
WAITS = (AssertionError, "waits")
WAITING: dict[str, tuple[Callable[[Tensor], object], tuple[type[Exception], str]]] = {
    "item": (lambda x: x.max().item(), NO_VALUES),
    "tolist": (lambda x: x.tolist(), NO_VALUES),
    "float": (lambda x: float(x.max()), NO_VALUES),
    "condition": (lambda x: bool((x > 0).any()), NO_VALUES),
    "nonzero": (lambda x: (x > 0).nonzero(), NO_VALUES),
    "mask": (lambda x: x[x > 0], NO_VALUES),
    "bincount": (lambda x: torch.bincount(x.long()), NO_VALUES),
    "cpu": (lambda x: x.cpu(), NO_VALUES),
    "numpy": (lambda x: x.numpy(), (TypeError, "meta")),
    "from a list": (lambda x: torch.tensor([1, 2], device=x.device), WAITS),
    "from an array": (lambda x: torch.as_tensor(np.zeros(3), device=x.device), WAITS),
    "to": (lambda x: torch.zeros(3).to(x.device), WAITS),
    "index on the host": (lambda x: x[torch.zeros(2, dtype=torch.int64)], WAITS),
    "copy": (lambda x: x.copy_(torch.zeros(3)), WAITS),
}


class InPlaceOfMerging(ScoreMerge):
    """Does something else wherever maps are merged."""

    def __init__(self, call: Callable[[Tensor], object]) -> None:
        super().__init__(checked, compares=False)
        self._call = call

    def __call__(self, *_: object) -> None:
        self._call(torch.zeros(3, device=META))


def segment_with(network: Network, call: Callable[[Tensor], object]) -> None:
    """Segment under watch while ``call`` runs on a tensor of the device in the kernel's place."""
    segmenter, transfer = on_meta(network, Method.FULL, Settings())
    segmenter = Segmenter(
        segmenter.model,
        segmenter.prompts,
        segmenter.settings,
        segmenter.method,
        support=DeviceSupport(transfer, InPlaceOfMerging(call)),
    )
    with watched():
        segmenter.segment(IMAGE)


@pytest.mark.parametrize("name", list(WAITING))
def test_what_waits_is_noticed(network: Network, name: str) -> None:
    """So that the tests above fail where someone adds it."""
    call, (error, message) = WAITING[name]
    with pytest.raises(error, match=message):
        segment_with(network, call)


def test_what_does_not_wait_is_let_through(network: Network) -> None:
    segment_with(network, lambda x: torch.where(x > 0, x.exp(), 2.0).sum())
