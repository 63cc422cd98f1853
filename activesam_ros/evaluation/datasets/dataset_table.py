"""The eight benchmarks: folder layouts of mmsegmentation, label rules, published results.

Sources: the paper of ActiveSAM; the layouts and label rules of mmsegmentation 1.x and, for
COCO-Object and the variants without background, of the papers that introduced them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from activesam_ros.evaluation.scoring.metrics import IGNORE_INDEX
from activesam_ros.segmentation.methods import Method

COCO_IDS = 182
COCO_THINGS = 80
COCO_MISSING = frozenset((11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90))


@dataclass(frozen=True)
class Published:
    """What the authors of a method state; None for what they do not.

    miou: on the benchmark, a fraction. frames_per_second: on an RTX 5090. mean_miou: mean of the
    mIoU over the eight benchmarks. times_segearth: lowest and highest ratio of its frames/s to
    those of SegEarth-OV3.
    """

    miou: float | None
    frames_per_second: float | None
    mean_miou: float | None = None
    times_segearth: tuple[float, float] | None = None


@dataclass(frozen=True)
class Benchmark:
    """A benchmark and how to read it.

    classes: number of classes, in the order of the bundled vocabulary of the same ``name``.
    folder: the root below mmsegmentation's ``data`` folder. images, labels: folders below the root,
    whose files end in image_suffix and label_suffix. image_list: the file that lists the stems of
    the images; None if every file below ``images`` counts. raw_label_suffix, raw_table: if an image
    has no file with label_suffix, this one is read and its ids are mapped through the table.
    reduce_zero_label: label 0 does not count and classes start at 1. background_threshold: of the
    calibration; 0 without a background class, which is the first one. segearth_confidence:
    SegEarth-OV3's object threshold, which it tunes for each benchmark. prepare: how to get from the
    download to this layout.
    """

    name: str
    title: str
    classes: int
    folder: str
    images: str
    labels: str
    image_suffix: str
    label_suffix: str
    segearth_confidence: float
    prepare: str
    raw_label_suffix: str | None = None
    raw_table: tuple[int, ...] | None = None
    image_list: str | None = None
    reduce_zero_label: bool = False
    background_threshold: float = 0.0
    published: Mapping[Method, Published] = field(default_factory=dict)

    @property
    def has_background(self) -> bool:
        """Whether the first class is background."""
        return self.background_threshold > 0


def coco_stuff_table() -> tuple[int, ...]:
    """From the 256 values of COCO's pixel maps to COCO-Stuff's train ids; 255 does not count.

    The maps number 91 things, 11 of which were never annotated, and 91 stuffs. Train ids number
    the annotated ones in order.
    """
    annotated = [id for id in range(COCO_IDS) if id not in COCO_MISSING]
    table = [IGNORE_INDEX] * 256
    for train_id, id in enumerate(annotated):
        table[id] = train_id
    return tuple(table)


def coco_object_table() -> tuple[int, ...]:
    """From the 256 values of COCO's pixel maps to COCO-Object's ids: things 1-80, the rest 0."""
    stuff = coco_stuff_table()
    return tuple(stuff[id] + 1 if stuff[id] < COCO_THINGS else 0 for id in range(256))


# Over SegEarth-OV3 the second version states 2.1 points of mean mIoU, and its speed on large
# vocabularies; it states no figures of single benchmarks.
_ACTIVESAM2 = Published(None, None, 0.639 + 0.021, (7.3, 12.2))


def _published(
    activesam: tuple[float, float | None],
    segearth: tuple[float, float | None],
    sam3_frames_per_second: float | None = None,
) -> dict[Method, Published]:
    """From per cent and frames/s; of plain SAM 3 only a mean mIoU over benchmarks is published."""

    def figures(miou: float | None, per_second: float | None, mean: float) -> Published:
        ratio = per_second / segearth[1] if per_second and segearth[1] else None
        return Published(
            None if miou is None else miou / 100,
            per_second,
            mean,
            None if ratio is None else (ratio, ratio),
        )

    return {
        Method.ACTIVESAM2: _ACTIVESAM2,
        Method.ACTIVESAM: figures(*activesam, 0.653),
        Method.SEGEARTH: figures(*segearth, 0.639),
        Method.SAM3: figures(None, sam3_frames_per_second, 0.575),
    }


VOC21 = Benchmark(
    name="voc21",
    title="Pascal VOC 2012 with background",
    classes=21,
    folder="VOCdevkit/VOC2012",
    images="JPEGImages",
    labels="SegmentationClass",
    image_suffix=".jpg",
    label_suffix=".png",
    image_list="ImageSets/Segmentation/val.txt",
    segearth_confidence=0.5,
    prepare="unpack VOCtrainval_11-May-2012.tar, which holds VOCdevkit/VOC2012",
    background_threshold=0.4,
    published=_published((83.8, None), (79.8, None)),
)
CONTEXT60 = Benchmark(
    name="context60",
    title="Pascal Context with background",
    classes=60,
    folder="VOCdevkit/VOC2010",
    images="JPEGImages",
    labels="SegmentationClassContext",
    image_suffix=".jpg",
    label_suffix=".png",
    image_list="ImageSets/SegmentationContext/val.txt",
    segearth_confidence=0.3,
    prepare="unpack VOCtrainval_03-May-2010.tar, put trainval_merged.json into it and run "
    "mmsegmentation's tools/dataset_converters/pascal_context.py, which writes "
    "SegmentationClassContext and its lists",
    background_threshold=0.1,
    published=_published((55.4, 4.04), (53.4, 0.84), 0.32),
)
COCO_STUFF = Benchmark(
    name="coco_stuff",
    title="COCO-Stuff 164k",
    classes=171,
    folder="coco_stuff164k",
    images="images/val2017",
    labels="annotations/val2017",
    image_suffix=".jpg",
    label_suffix="_labelTrainIds.png",
    raw_label_suffix=".png",
    raw_table=coco_stuff_table(),
    segearth_confidence=0.2,
    prepare="unpack val2017.zip into images and stuffthingmaps_trainval2017.zip into annotations; "
    "the pixel maps are read as they are",
    published=_published((44.4, 1.66), (42.8, 0.31), 0.11),
)

BENCHMARKS = (
    VOC21,
    CONTEXT60,
    dataclasses.replace(
        COCO_STUFF,
        name="coco_object",
        title="COCO-Object",
        classes=81,
        folder="coco_object",
        label_suffix="_instanceTrainIds.png",
        raw_table=coco_object_table(),
        background_threshold=0.4,
        segearth_confidence=0.5,
        published=_published((72.0, 3.19), (72.0, 0.63), 0.24),
    ),
    dataclasses.replace(
        VOC21,
        name="voc20",
        title="Pascal VOC 2012 without background",
        classes=20,
        reduce_zero_label=True,
        background_threshold=0.0,
        segearth_confidence=0.2,
        published=_published((97.0, None), (96.8, None)),
    ),
    dataclasses.replace(
        CONTEXT60,
        name="context59",
        title="Pascal Context without background",
        classes=59,
        reduce_zero_label=True,
        background_threshold=0.0,
        segearth_confidence=0.3,
        published=_published((60.1, 4.10), (59.2, 0.86), 0.32),
    ),
    COCO_STUFF,
    Benchmark(
        name="cityscapes",
        title="Cityscapes",
        classes=19,
        folder="cityscapes",
        images="leftImg8bit/val",
        labels="gtFine/val",
        image_suffix="_leftImg8bit.png",
        label_suffix="_gtFine_labelTrainIds.png",
        segearth_confidence=0.3,
        prepare="unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip and run "
        "mmsegmentation's tools/dataset_converters/cityscapes.py, which writes "
        "*_gtFine_labelTrainIds.png",
        published=_published((69.7, None), (69.7, None)),
    ),
    Benchmark(
        name="ade20k",
        title="ADE20K",
        classes=150,
        folder="ade/ADEChallengeData2016",
        images="images/validation",
        labels="annotations/validation",
        image_suffix=".jpg",
        label_suffix=".png",
        reduce_zero_label=True,
        segearth_confidence=0.3,
        prepare="unpack ADEChallengeData2016.zip",
        published=_published((40.0, 1.92), (37.6, 0.35), 0.13),
    ),
)

BENCHMARK_NAMES = tuple(benchmark.name for benchmark in BENCHMARKS)


def benchmark_named(name: str) -> Benchmark:
    """The benchmark called ``name``; raises KeyError if there is none."""
    return {benchmark.name: benchmark for benchmark in BENCHMARKS}[name]
