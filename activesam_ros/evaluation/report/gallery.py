"""The frames that the report shows, ready to stand in its page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from activesam_ros.evaluation.report.frame_picture import TRUTH, FramePicture
from activesam_ros.evaluation.scoring.frame_figures import FrameFigures
from activesam_ros.segmentation.baselines import Method


@dataclass(frozen=True, slots=True)
class ShownLayer:
    """A label map as it stands in the page."""

    name: str
    uri: str
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """A frame as it stands in the page.

    answer: what the prediction is compared with: the ground truth, else the unpruned method, else
    None. scores: by method.
    """

    place: int
    name: str
    second: float | None
    width: int
    height: int
    image_uri: str
    predictions: tuple[ShownLayer, ...]
    answer: ShownLayer | None
    scores: Mapping[str, float | None]

    @property
    def classes(self) -> tuple[int, ...]:
        """Classes in any of the layers, the largest of the answer first."""
        layers = (*((self.answer,) if self.answer else ()), *self.predictions)
        return tuple(dict.fromkeys(index for layer in layers for index in layer.classes))


def shown_frame(
    place: int,
    picture: FramePicture,
    figures: Mapping[str, FrameFigures],
    second: float | None,
) -> ShownFrame:
    """The frame at ``place`` with its figures by method."""
    answer = next((name for name in (TRUTH, Method.FULL.value) if name in picture.layers), None)
    layers = {
        name: ShownLayer(name, data_uri("image/png", layer.png), layer.classes)
        for name, layer in picture.layers.items()
    }
    shown = [name for name in figures if name != answer] or list(figures)
    return ShownFrame(
        place=place,
        name=next(iter(figures.values())).name,
        second=second,
        width=picture.width,
        height=picture.height,
        image_uri=data_uri("image/jpeg", picture.jpeg),
        predictions=tuple(layers[name] for name in shown),
        answer=None if answer is None or answer in shown else layers[answer],
        scores={name: entry.score for name, entry in figures.items()},
    )


def data_uri(media_type: str, data: bytes) -> str:
    """``data`` as an address that needs no request."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
