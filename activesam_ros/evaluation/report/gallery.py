"""The frames in the gallery of the report, ready for its page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from activesam_ros.evaluation.report.frame_picture import TRUTH, FramePicture
from activesam_ros.evaluation.scoring.frame_figures import FrameFigures
from activesam_ros.segmentation.methods import Method


@dataclass(frozen=True, slots=True)
class ShownLayer:
    """A label map in the page. classes: indices, the largest class first."""

    name: str
    uri: str
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """A frame in the page.

    answer: what predictions are compared with: the ground truth, else the labels of the unpruned
    method, else None. second: time since the first frame, None without times. scores: by method.
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
        """The classes of all layers, starting with the largest of the answer."""
        layers = (*((self.answer,) if self.answer else ()), *self.predictions)
        return tuple(dict.fromkeys(index for layer in layers for index in layer.classes))


def shown_frame(
    place: int,
    picture: FramePicture,
    figures: Mapping[str, FrameFigures],
    second: float | None,
) -> ShownFrame:
    """The frame at ``place``. figures: by method."""
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
    """``data`` as a data: URI, which a browser shows without a request."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
