"""What sparse attention and MLPs cost in accuracy and save in time and memory, by switch.

    python -m benchmarks.sparse --weights weights/demo/model.safetensors --output out/sparse

It decodes every class (method full), once densely and once for each switch, density and way of
choosing tokens: Stripe-Sort by content, its static order, random tokens, and token merging (ToMe).
On unseen drives of the demo world mIoU is against the ground truth. On the images of the golden
network, whose weights are random, it is against the dense labels.

Times are those of the image encoder, and of the fusion encoder with all prompts, as a share of the
dense time: medians over rounds in which the configurations take turns, in processor time on a CPU.
Memory is that of tensors, without the weights. The last part measures single layers of the
full-size network. It writes sparse.json, sparse.md and sparse.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from activesam_ros.demo.world.classes import CLASS_COUNT, VOCABULARY_NAME, ClassId
from activesam_ros.errors import ActiveSamError
from activesam_ros.evaluation.scoring.metrics import ConfusionMatrix, IdMap, agreement
from activesam_ros.image_files import LabelMap, read_image
from activesam_ros.output_files import check_output_folder, write_whole
from activesam_ros.pipeline import Network, NetworkOptions, load_network
from activesam_ros.prompts.vocabulary import Vocabulary
from activesam_ros.prompts.vocabulary_files import load_vocabulary
from activesam_ros.sam3.config import Sam3Config
from activesam_ros.sam3.model import Prompts
from activesam_ros.sam3.plan import ImagePlan
from activesam_ros.segmentation.device.transfer import Transfer
from activesam_ros.segmentation.methods import Method
from activesam_ros.segmentation.pixels import network_pixels, upload
from activesam_ros.segmentation.segmenter import Segmenter
from activesam_ros.settings import Settings
from benchmarks.clock import timed_ms
from benchmarks.oracles.plain_network import modules_of
from benchmarks.sparse.layers import LayerRow, layer_rows
from benchmarks.sparse.plans import SWITCHES, WAYS, plan_of
from benchmarks.sparse.report import plot, report
from benchmarks.tensor_memory import peak_mib
from training.measure import test_frames

EXIT_BAD_INPUT = 2
DENSITIES = (0.7, 0.5, 0.4, 0.3)
GOLDEN = Path(__file__).parents[2] / "test" / "data" / "golden"
GOLDEN_IMAGES = ("background.png", "no_background.png")
GOLDEN_VOCABULARY = "aliases_no_preview.vocabulary.txt"
COST_ROUNDS = 3
SEED = 0


@dataclass(frozen=True, eq=False)
class Picture:
    """An image, uint8 RGB [H, W, 3], and its labels, uint8 [H, W], where they are known."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None


@dataclass(frozen=True)
class SparseRow:
    """What was measured of one configuration.

    miou: over the labelled classes. agreement: share of pixels with the dense label. encode_share,
    fuse_share: of the dense time. encode_mib, fuse_mib: peak memory of tensors. The last four are
    None where the switch does not change the stage.
    """

    network: str
    switch: str
    density: float
    way: str
    miou: float
    agreement: float
    encode_share: float | None
    fuse_share: float | None
    encode_mib: float | None
    fuse_mib: float | None


@dataclass(frozen=True)
class Key:
    """A configuration's identity: the switch, its density, and the way of choosing tokens."""

    switch: str
    density: float
    way: str


@dataclass
class Cost:
    """The cost of one stage: times, and the peak memory of its tensors."""

    times_ms: list[float] = field(default_factory=list)
    memory_mib: float | None = None

    def add(self, work: Callable[[], object], device: torch.device) -> None:
        """Measure the time once more, and the memory the first time."""
        if self.memory_mib is None:
            self.memory_mib = peak_mib(work, device)
        self.times_ms.append(timed_ms(work, device))

    def share(self, dense: Cost) -> float | None:
        """The median time as a share of the dense one, None without a measurement."""
        if not self.times_ms:
            return None
        return statistics.median(self.times_ms) / statistics.median(dense.times_ms)


class Configuration:
    """One way to segment, and its results so far."""

    def __init__(
        self, key: Key, like: Segmenter, plan: ImagePlan | None, ignored: Sequence[int]
    ) -> None:
        """``like``: the dense segmenter."""
        self.key = key
        self._plan = plan
        self._segmenter = like if plan is None else like.with_plan(plan)
        classes = len(like.prompts.vocabulary.classes)
        same = {identity: identity for identity in range(classes)}
        self._truth = IdMap.of(same, classes, ignored)
        self._predicted = IdMap.of(same, classes)
        self._confusion = ConfusionMatrix.empty(classes)
        self._agreement: list[float] = []
        self.encode, self.fuse = Cost(), Cost()

    def add(self, picture: Picture, dense: LabelMap | None) -> LabelMap:
        """Segment, count and return the labels; dense: None for the dense configuration itself."""
        labels = self._segmenter.segment(picture.image).labels
        reference = labels if dense is None else dense
        truth = reference if picture.labels is None else picture.labels
        self._confusion += ConfusionMatrix.of(truth, labels, self._truth, self._predicted)
        self._agreement.append(agreement(labels, reference).value)
        return labels

    @torch.inference_mode()
    def add_cost(self, pixels: torch.Tensor, prompts: Prompts) -> None:
        """Time the stages that the plan changes: encoder, or fusion with all prompts."""
        model, plan = self._segmenter.model, self._plan
        if plan is None or self.key.switch.startswith("encoder"):
            self.encode.add(lambda: model.encode_image(pixels, plan), model.device)
        if plan is None or self.key.switch.startswith("fusion"):
            features = model.encode_image(pixels, plan)
            modules = modules_of(model)
            self.fuse.add(lambda: modules.fuse(features, prompts), model.device)

    def row(self, network: str, dense: Configuration) -> SparseRow:
        """The results."""
        return SparseRow(
            network=network,
            switch=self.key.switch,
            density=self.key.density,
            way=self.key.way,
            miou=self._confusion.miou_of_labelled(),
            agreement=statistics.mean(self._agreement),
            encode_share=self.encode.share(dense.encode),
            fuse_share=self.fuse.share(dense.fuse),
            encode_mib=self.encode.memory_mib,
            fuse_mib=self.fuse.memory_mib,
        )


def measure(
    name: str,
    network: Network,
    vocabulary: Vocabulary,
    pictures: Sequence[Picture],
    args: argparse.Namespace,
    ignored: Sequence[int] = (),
) -> list[SparseRow]:
    """The dense row, then one for each switch, density and way."""
    first = network.segmenter(vocabulary, Settings(), Method.FULL)
    keys = [
        Key(switch, density, way)
        for switch in SWITCHES
        for density in args.densities
        for way in args.ways
    ]
    every = [Configuration(Key("dense", 1.0, "dense"), first, None, ignored)]
    every += [
        Configuration(key, first, plan_of(network.config, *dataclasses.astuple(key)), ignored)
        for key in keys
    ]
    first.segment(pictures[0].image)  # the first frame is slower
    for picture in tqdm(pictures, desc=f"{name}, frames"):
        dense = every[0].add(picture, None)
        for configuration in every[1:]:
            configuration.add(picture, dense)
    source = upload(pictures[0].image, Transfer(network.device))
    pixels = network_pixels(source, first.resolution, network.dtype)
    prompts = Prompts(first.prompts.features, first.prompts.padding)
    for _ in tqdm(range(COST_ROUNDS), desc=f"{name}, costs"):
        for configuration in every:
            configuration.add_cost(pixels, prompts)
    return [configuration.row(name, every[0]) for configuration in every]


def demo_rows(args: argparse.Namespace) -> list[SparseRow]:
    """The demo network on frames of unseen drives."""
    network = load_network(NetworkOptions(weights=args.weights, device=args.device))
    pictures = [Picture(sample.image, sample.labels) for sample in test_frames(args.frames)]
    vocabulary = load_vocabulary(VOCABULARY_NAME)
    assert len(vocabulary.classes) == CLASS_COUNT
    return measure("demo", network, vocabulary, pictures, args, (ClassId.UNLABELLED,))


def golden_rows(args: argparse.Namespace) -> list[SparseRow]:
    """The golden network on its images."""
    network = load_network(NetworkOptions(weights=GOLDEN / "model.pt", device=args.device))
    pictures = [Picture(read_image(GOLDEN / name), None) for name in GOLDEN_IMAGES]
    vocabulary = load_vocabulary(str(GOLDEN / GOLDEN_VOCABULARY))
    return measure("golden", network, vocabulary, pictures, args)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the files."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sparse", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--densities", nargs="+", type=float, default=list(DENSITIES))
    parser.add_argument("--no-golden", dest="golden", action="store_false")
    parser.add_argument("--no-full-size", dest="full_size", action="store_false")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        check_output_folder(args.output)
        print(measure_all(args))
    except ActiveSamError as error:
        print(f"benchmarks.sparse: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def measure_all(args: argparse.Namespace) -> str:
    """Measure everything and write the files; returns the Markdown."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    rows = demo_rows(args)
    layers: list[LayerRow] = []
    write(args, rows, layers)  # a result even if the rest is interrupted
    if args.golden:
        rows += golden_rows(args)
        write(args, rows, layers)
    if args.full_size:
        layers += layer_rows(Sam3Config(), args.device, args.densities)
    return write(args, rows, layers)


def write(args: argparse.Namespace, rows: Sequence[SparseRow], layers: Sequence[LayerRow]) -> str:
    """Write the files; returns the Markdown."""
    values = {
        "weights": str(args.weights),
        "frames": args.frames,
        "torch": torch.__version__,
        "threads": args.threads,
        "device": args.device,
        "rows": [asdict(row) for row in rows],
        "full_size_layers": [asdict(row) for row in layers],
    }
    text = report(values)
    write_whole(args.output / "sparse.json", json.dumps(values, indent=1) + "\n")
    write_whole(args.output / "sparse.md", text)
    plot([row for row in values["rows"] if row["network"] == "demo"], args.output / "sparse.png")
    return text


if __name__ == "__main__":
    main()
