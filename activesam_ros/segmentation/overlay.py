"""Pictures of label maps: class colours over an image, and the legend that names them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from activesam_ros.errors import ImageError, UsageError

Color: TypeAlias = tuple[int, int, int]

_EIGHT_BIT_IDS = 256
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Height of capital letters at scale 1 [px].
_FONT_HEIGHT_PX = 22
_LEGEND_PAPER: Color = (24, 24, 24)
_LEGEND_INK: Color = (240, 240, 240)
# A legend's rows grow with the picture: legible in a photo of 4000 px, small in one of 300 px.
_MIN_ROW_PX, _MAX_ROW_PX, _ROWS_PER_WIDTH = 16, 96, 40
# A narrower picture is widened for its legend.
_MIN_LEGEND_PX = 160


def draw_overlay(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8] | NDArray[np.uint16],
    palette: Mapping[int, Color],
    opacity: float = 0.5,
) -> NDArray[np.uint8]:
    """Blend each pixel's class colour over ``image``; the result is uint8 RGB [H, W, 3].

    image: uint8 RGB [H, W, 3]. labels: uint8 or uint16 [H, W], values are class ids. palette: id ->
    RGB 0-255; pixels whose id it lacks keep the image. opacity: 0 shows the image, 1 the colours.
    Raises ImageError when image and labels have another type or differ in size, UsageError when the
    opacity is out of range.
    """
    _check(image, labels)
    if not 0.0 <= opacity <= 1.0:
        raise UsageError(f"The opacity {opacity} is out of range; give 0 to 1.")
    known = np.array(sorted(palette), np.int64)
    if labels.size == 0 or known.size == 0:
        return image.copy()
    size = _EIGHT_BIT_IDS if labels.dtype == np.uint8 else int(max(labels.max(), known[-1])) + 1
    known = known[known < size]
    colors = np.zeros((size, 3), np.uint8)
    colors[known] = [palette[class_id] for class_id in known.tolist()]
    covered = np.zeros(size, np.uint8)
    covered[known] = 1
    picture = cv2.addWeighted(_look_up(colors, labels), opacity, image, 1.0 - opacity, 0.0)
    bare = _look_up(covered, labels) == 0
    picture[bare] = image[bare]
    return np.asarray(picture, np.uint8)


def legend_entries(
    labels: NDArray[np.uint8] | NDArray[np.uint16], classes: Iterable[tuple[int, str, Color]]
) -> tuple[tuple[str, Color], ...]:
    """Name and colour of the classes that have a pixel in ``labels`` [H, W], the largest first.

    classes: id, name, colour, as in :func:`legend_of`.
    """
    ids, pixels = np.unique(labels, return_counts=True)
    return legend_of(dict(zip(ids.tolist(), pixels.tolist(), strict=True)), classes)


def legend_of(
    pixels: Mapping[int, int], classes: Iterable[tuple[int, str, Color]]
) -> tuple[tuple[str, Color], ...]:
    """Name and colour of the classes in ``pixels``, class id -> their number, the largest first.

    classes: id, name, colour. Names lose their accents; a name that the font cannot draw, such as
    one in Chinese, becomes "class ID".
    """
    known = {class_id: (_drawable(name, class_id), color) for class_id, name, color in classes}
    largest_first = sorted(pixels, key=lambda class_id: (-pixels[class_id], class_id))
    return tuple(known[class_id] for class_id in largest_first if class_id in known)


def with_legend(
    picture: NDArray[np.uint8], entries: Sequence[tuple[str, Color]], rows: int | None = None
) -> NDArray[np.uint8]:
    """``picture``, uint8 RGB [H, W, 3], with the legend of ``entries`` below it.

    rows: the number of rows of the legend, for pictures that must all have one size; None for as
    many as the entries need. A picture of less than 160 px is widened to that.
    """
    height, width = picture.shape[:2]
    row_height = min(max(width // _ROWS_PER_WIDTH, _MIN_ROW_PX), _MAX_ROW_PX)
    strip = legend(entries, max(width, _MIN_LEGEND_PX), row_height, rows=rows)
    if strip.shape[1] > width:
        wide = np.full((height, strip.shape[1], 3), _LEGEND_PAPER, np.uint8)
        wide[:, :width] = picture
        picture = wide
    return np.concatenate([picture, strip], axis=0)


def legend(
    entries: Sequence[tuple[str, Color]],
    width: int,
    row_height: int = 24,
    paper: Color = _LEGEND_PAPER,
    ink: Color = _LEGEND_INK,
    rows: int | None = None,
) -> NDArray[np.uint8]:
    """A strip with a colour field and a name for each entry: uint8 RGB [H, width, 3].

    Entries fill columns of equal width, row by row. A name that is too long for the strip is cut.
    Characters outside ASCII become question marks. rows: the number of rows; None for as many as
    the entries need. With too few rows the last place says how many entries are missing. Raises
    UsageError when ``width`` or ``row_height`` is too small to draw in.
    """
    if width < 2 * row_height or row_height < 8:
        raise UsageError(
            f"A legend of {width} px width and {row_height} px row height has no room; give rows "
            "of at least 8 px and a width of at least two row heights."
        )
    margin = row_height // 4
    indent = row_height + margin
    text_height = row_height // 2
    widest = max((text_width(name, text_height) for name, _ in entries), default=0)
    column_width = min(indent + widest + 2 * margin, width)
    columns = width // column_width
    if rows is None:
        rows = -(-len(entries) // columns)
    shown = [*entries]
    if len(entries) > rows * columns:
        shown = shown[: max(rows * columns - 1, 0)]
    strip = np.full((rows * row_height, width, 3), paper, np.uint8)
    for place, (name, color) in enumerate(shown):
        top, left = place // columns * row_height, place % columns * column_width
        strip[top + margin : top + row_height - margin, left + margin : left + row_height] = color
        room = column_width - indent
        draw_text(
            strip, _cut(name, text_height, room), (left + indent, top + margin), text_height, ink
        )
    if rows and len(shown) < len(entries):
        top, left = len(shown) // columns * row_height, len(shown) % columns * column_width
        missing = _cut(f"+{len(entries) - len(shown)} more", text_height, column_width - margin)
        draw_text(strip, missing, (left + margin, top + margin), text_height, ink)
    return strip


def text_width(text: str, height: int) -> int:
    """Width in pixels of ``text`` drawn with capitals of ``height`` pixels."""
    (width, _), _ = cv2.getTextSize(text, _FONT, height / _FONT_HEIGHT_PX, _stroke(height))
    return int(width)


def draw_text(
    picture: NDArray[np.uint8], text: str, corner: tuple[int, int], height: int, color: Color
) -> None:
    """Draw one line into ``picture`` [H, W, 3]; ``corner`` is (x, y) of its top left pixel."""
    baseline = (corner[0], corner[1] + height)
    scale = height / _FONT_HEIGHT_PX
    cv2.putText(picture, text, baseline, _FONT, scale, color, _stroke(height), cv2.LINE_AA)


def _stroke(height: int) -> int:
    return max(1, round(height / 12))


def _drawable(name: str, class_id: int) -> str:
    decomposed = unicodedata.normalize("NFKD", name)
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return plain if plain.isascii() and plain.isprintable() else f"class {class_id}"


def _cut(name: str, height: int, room: int) -> str:
    while name and text_width(name, height) > room:
        name = name[:-1]
    return name


def _look_up(
    table: NDArray[np.uint8], labels: NDArray[np.uint8] | NDArray[np.uint16]
) -> NDArray[np.uint8]:
    """table[labels]; OpenCV looks up uint8 several times faster than indexing does."""
    if labels.dtype != np.uint8:
        return table[labels]
    if table.ndim == 1:
        return np.asarray(cv2.LUT(labels, table), np.uint8)
    return np.asarray(cv2.LUT(cv2.merge([labels] * 3), table[:, np.newaxis]), np.uint8)


def _check(image: NDArray[np.uint8], labels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"The image is {image.dtype} {image.shape}; give uint8 RGB [H, W, 3].")
    if labels.dtype not in (np.uint8, np.uint16) or labels.ndim != 2:
        raise ImageError(
            f"The label map is {labels.dtype} {labels.shape}; give uint8 or uint16 [H, W]."
        )
    if labels.shape != image.shape[:2]:
        raise ImageError(
            f"The label map is {labels.shape} and the image {image.shape[:2]}; give both the same "
            "size."
        )
