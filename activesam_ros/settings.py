"""The settings of the method, and the one table from which everything about settings comes.

To add a setting, add a field to :class:`Settings`, or to ``NodeOptions`` in
node/parameters/options.py if only the node has it. The field's :func:`setting` states the default,
range, unit, description and when it may change. ROS parameters and ``--set`` follow from it, and
node/parameters/files.py prints config/activesam.yaml and the table of docs/node.md anew.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from activesam_ros.errors import SettingsError, did_you_mean
from activesam_ros.setting_table import (
    OLD_NAMES,
    Change,
    Setting,
    SettingValue,
    check_fields,
    setting,
    settings_of,
    split_assignment,
)

_LOG = logging.getLogger(__name__)

AUTO = "auto"
NEVER = "never"

MAX_LABEL_ID = 65534


@dataclass(frozen=True)
class Settings:
    """The settings of the method (ActiveSAM, SparseSAM, streaming).

    The defaults are those of both versions of ActiveSAM. Other methods have a few of their own
    (METHODS in segmentation/methods.py), and so has the node (NODE_DEFAULTS in
    node/parameters/options.py).

    Raises SettingsError if a value has the wrong type or is out of range.
    """

    resolution: int = setting(
        0,
        "Side length of the square to which an image is resized for decoding; 0 takes the "
        "network's own.",
        between=(0, 4032),
        unit="px",
        change=Change.UNCONFIGURED,
    )
    preview_resolution: int = setting(
        0,
        "Side length of the square to which an image is resized for the preview; 0 takes a third "
        "of resolution for activesam2, two thirds for activesam.",
        between=(0, 4032),
        unit="px",
        change=Change.UNCONFIGURED,
    )
    bit_depth: int = setting(
        16,
        "Number of bits that 16-bit images use: cameras often put 10, 12 or 14 bits into the low "
        "bits of 16. The largest number of that many bits becomes white.",
        between=(8, 16),
        unit="bits",
    )
    max_image_pixels: int = setting(
        1 << 26,
        "An image with more pixels is refused; that of a compressed image or a file by its header, "
        "before it is decoded.",
        between=(1, 178_956_970),  # what Pillow opens
        unit="px",
    )
    bucket_size: int | str = setting(
        AUTO,
        "Number of queries that are decoded at once; a smaller number needs less memory. auto "
        "takes 32 on a CPU; on a GPU it takes up to 32, as the free memory allows.",
        between=(1, 1024),
        unit="queries",
        choices=(AUTO,),
    )
    preset: str = setting(
        "exact",
        "exact computes the published method. fast approximates it: it runs the linear layers of "
        "the image encoder and the fusion encoder in 8 bits, and limits fusion_density to 0.4.",
        choices=("exact", "fast"),
        change=Change.UNCONFIGURED,
    )
    compile: str = setting(
        NEVER,
        "Whether to compile the network, which makes the start longer and each frame faster. On a "
        "GPU this also records CUDA graphs. auto compiles on a GPU only.",
        choices=(AUTO, "always", NEVER),
        change=Change.UNCONFIGURED,
    )
    confidence_threshold: float = setting(
        0.3,
        "An object contributes its mask if its probability is higher than this.",
        between=(0.0, 1.0),
    )
    quantile_alpha: float = setting(
        0.2,
        "With activesam: share of the vocabulary that the preview keeps: the queries whose "
        "presence is at or above the (1 - alpha) quantile. With streaming it holds for full "
        "previews only.",
        between=(0.0, 1.0),
    )
    max_active: int = setting(
        -1,
        "Largest number of queries that are decoded in a frame, not counting pinned ones; 0 is no "
        "limit, -1 takes the method's own: 40 for activesam, no limit for activesam2. With "
        "activesam, a vocabulary with no more queries than this is decoded whole, without a "
        "preview.",
        between=(-1, 65535),
        unit="queries",
    )
    tau: float = setting(
        0.1,
        "With activesam2: presence that a query needs in the preview to be admitted, and again "
        "after one decoder layer at full resolution to be decoded. 0 decodes every query.",
        between=(0.0, 1.0),
    )
    preview_layers: int = setting(
        2,
        "With activesam2: number of decoder layers that the preview runs; at most the network's.",
        between=(1, 64),
        unit="layers",
        change=Change.UNCONFIGURED,
    )
    preview_queries: int = setting(
        50,
        "With activesam2: number of the decoder's object queries that the preview uses; at most "
        "the network's.",
        between=(1, 4096),
        unit="object queries",
        change=Change.UNCONFIGURED,
    )
    screening_chunk: int = setting(
        32,
        "With activesam2: of so many admitted queries at least one is decoded, the one with the "
        "highest presence if none reaches tau. Results do not depend on bucket_size.",
        between=(1, 65535),
        unit="queries",
    )
    signatures: str = setting(
        "",
        "With activesam2: path of a file of signatures, which activesam calibrate writes for a "
        "vocabulary. A pixel gets the class whose signature its scores fit best; without a file it "
        "gets the class with the highest score.",
    )
    sigma: float = setting(
        0.15,
        "With signatures: how far the scores of a pixel may be from the signature of its class; a "
        "larger value gives the presence of the classes more weight.",
        between=(0.01, 10.0),
    )
    background_class: str = setting(
        "",
        "Name of the class of the vocabulary that means background; empty takes the class named "
        "background, if there is one. With signatures, a pixel that scores too little for its "
        "class becomes this class.",
    )
    background_offset: float = setting(
        1.0,
        "With signatures and a class that means background: what is added to the fit of "
        "background; a larger value gives more background.",
        between=(-100.0, 100.0),
    )
    neighbor_tokens: int = setting(
        2,
        "Number of other queries, the nearest ones, whose pooled embeddings are added to each "
        "prompt.",
        between=(0, 16),
        unit="tokens",
        change=Change.UNCONFIGURED,
    )
    hypernym_tokens: int = setting(
        2,
        "Number of WordNet hypernyms whose pooled embeddings are added to each prompt.",
        between=(0, 16),
        unit="tokens",
        change=Change.UNCONFIGURED,
    )
    background_threshold: float = setting(
        0.0,
        "A pixel with a low score becomes background. activesam and full: where best x sqrt(best - "
        "second best) is below background_threshold ^ mabc_exponent, so also where two classes "
        "score alike. activesam2 without signatures, segearth and sam3: where the best score is "
        "below background_threshold. 0 turns both rules off.",
        between=(0.0, 1.0),
    )
    background_id: int | str = setting(
        AUTO,
        "Label of background pixels: an id that no class has, or the id of the background_class. "
        "auto takes that class, else 0 if no class has it, else the highest free id up "
        "to 255, or 65535 in a mask of 16 bits.",
        between=(0, MAX_LABEL_ID + 1),
        choices=(AUTO,),
    )
    mabc_exponent: float = setting(
        1.25,
        "Exponent that margin-aware background calibration applies to background_threshold.",
        between=(0.1, 10.0),
    )
    pinned: tuple[str, ...] = setting(
        (),
        "Names of classes that are decoded in every frame, in addition to those that the "
        "vocabulary pins.",
    )
    encoder_attention_density: float = setting(
        1.0,
        "Share of the keys to which every image token attends in the image encoder, in addition to "
        "the keys of its own block; 1 is dense attention.",
        between=(0.1, 1.0),
    )
    encoder_mlp_density: float = setting(
        1.0,
        "Share of the tokens that go through the MLP in the window blocks of the image encoder; "
        "the other tokens skip it.",
        between=(0.1, 1.0),
    )
    encoder_sparse_from_block: int = setting(
        -1,
        "First block of the image encoder that may be sparse; -1 takes the block after the first "
        "one with global attention, which is block 8 in SAM 3.",
        between=(-1, 1023),
    )
    stripe_order: str = setting(
        "content",
        "How the sparse parts rank tokens: content ranks them by the content of each image, "
        "static spreads the kept ones evenly.",
        choices=("content", "static"),
    )
    fusion_density: float = setting(
        1.0,
        "Share of the keys to which every image token attends in the fusion encoder, in addition "
        "to the keys of its own block; 1 is dense attention.",
        between=(0.1, 1.0),
    )
    fusion_mlp_density: float = setting(
        1.0,
        "Share of the image tokens that go through the MLP in each layer of the fusion encoder "
        "except the last; the other tokens skip it.",
        between=(0.1, 1.0),
    )
    preview_encoding: str = setting(
        "separate",
        "Image encoding that the preview uses. separate encodes the image once more, at "
        "preview_resolution. shared uses the encoding made for decoding, which takes more time "
        "for each query.",
        choices=("separate", "shared"),
    )
    streaming: bool = setting(
        False,
        "For video: keep the active set from frame to frame and preview only a part of the "
        "vocabulary in each frame. If false, every frame is previewed with the whole vocabulary.",
    )
    preview_interval: int = setting(
        8,
        "With streaming: every query is previewed or decoded at least once in this many frames; 1 "
        "previews all inactive queries in every frame.",
        between=(1, 1000),
        unit="frames",
    )
    enter_threshold: float = setting(
        0.3,
        "With streaming: an inactive query becomes active if its presence in the preview is at "
        "least this and it is among the max_active strongest. In a full preview quantile_alpha "
        "decides instead. activesam2 takes tau in place of both.",
        between=(0.0, 1.0),
    )
    leave_threshold: float = setting(
        0.1,
        "With streaming: a frame has evidence for an active query if the filtered presence of the "
        "query is at least this, or its presence in this frame is at least enter_threshold. "
        "activesam2 takes tau if that is higher.",
        between=(0.0, 1.0),
    )
    hold_frames: int = setting(
        5,
        "With streaming: a query stops being active after this many consecutive frames without "
        "evidence.",
        between=(1, 1000),
        unit="frames",
    )
    presence_gain: float = setting(
        0.5,
        "With streaming: weight of the newest frame in the filtered presence; 1 turns the filter "
        "off.",
        between=(0.01, 1.0),
    )
    scene_change_threshold: float = setting(
        0.2,
        "With streaming: the whole vocabulary is previewed if the frame's thumbnail differs from "
        "the previous one by more than this; 0 turns the comparison off.",
        between=(0.0, 1.0),
    )
    max_gap_s: float = setting(
        2.0,
        "With streaming: the whole vocabulary is previewed if the frame's stamp is more than this "
        "after the previous one, or is earlier.",
        between=(0.01, 3600.0),
        unit="s",
    )

    def __post_init__(self) -> None:
        check_fields(self, SETTINGS)

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Settings:
        """The defaults with ``values`` in place; raises SettingsError as :meth:`replace` does."""
        return cls().replace(values)

    def assign(self, assignments: Iterable[str]) -> Settings:
        """A copy with the ``NAME=VALUE`` texts of a command line in place; the last one wins.

        Raises SettingsError for an unknown name, a missing ``=`` or a bad value.
        """
        return self.replace(assigned_values(assignments))

    def replace(self, values: Mapping[str, object]) -> Settings:
        """A copy with ``values`` in place.

        Raises SettingsError for an unknown name or a bad value.
        """
        values = current_names(values)
        for name in values:
            setting_named(name)
        return dataclasses.replace(self, **values)  # type: ignore[arg-type]

    def per_image(self) -> Settings:
        """A copy without streaming, for a segmenter of single images."""
        return dataclasses.replace(self, streaming=False)


SETTINGS: tuple[Setting, ...] = settings_of(Settings)


def setting_named(name: str) -> Setting:
    """The row of ``name``; raises SettingsError with the known names."""
    for row in SETTINGS:
        if row.name == name:
            return row
    known = ", ".join(row.name for row in SETTINGS)
    hint = did_you_mean(name, (row.name for row in SETTINGS))
    raise SettingsError(f"There is no setting {name!r}.{hint} The settings are {known}.")


def assigned_values(assignments: Iterable[str]) -> dict[str, SettingValue]:
    """The values of ``NAME=VALUE`` texts by current names; the last one of a name wins.

    Raises SettingsError for an unknown name, a missing ``=`` or a bad value.
    """
    values: dict[str, SettingValue] = {}
    for assignment in assignments:
        name, text = split_assignment(assignment)
        (current,) = current_names({name: text})
        values[current] = setting_named(current).parse(text)
    return values


def current_names(values: Mapping[str, object]) -> dict[str, object]:
    """``values`` by current names; each old name among them logs a deprecation.

    Raises SettingsError if both names of a setting are given.
    """
    current = dict(values)
    for old, name in OLD_NAMES.items():
        if old not in current:
            continue
        if name in current:
            raise SettingsError(f"{old} is the old name of {name}; give {name} alone.")
        _LOG.warning("The setting %s is now named %s; the old name is deprecated.", old, name)
        current[name] = current.pop(old)
    return current
