"""Exclusive concept decoding of a whole image in one kernel; needs Triton.

Each program decodes one tile of pixels. It goes through the classes: it forms the scores of a class
from its maps at the mask grid, and adds them, times a column of each set of signatures, to the fits
of all classes, which it holds in registers. So no score is ever written but the best.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from activesam_ros.segmentation.exclusive_decoding.class_maps import ClassMaps
from activesam_ros.segmentation.exclusive_decoding.decoder import ConceptDecoder
from activesam_ros.segmentation.score_maps.tiles import Axis

WARPS = 4
# The most pixels of a program, one for each thread. Both fits of 64 classes are 128 registers.
PIXELS = 128
CLASSES_OF_THREAD = 64
# Maps of a class between two looks at which of the others can still raise its score in the tile.
BLOCK = 8
# One compilation serves all sizes of image and mask grid and all numbers of classes up to `rows`.
_ANY = ["background", "classes", "map_height", "map_width", "height", "width"]


def shape_of(classes: int) -> tuple[int, int, int]:
    """Classes that a program has registers for, and height and width of its tile [px]."""
    rows = max(16, triton.next_power_of_2(classes))
    pixels = max(1, min(PIXELS, PIXELS * CLASSES_OF_THREAD // rows))
    tile_width = 1 << (pixels.bit_length() // 2)
    return rows, pixels // tile_width, tile_width


@triton.jit(do_not_specialize=_ANY)
def concept_kernel(
    index_ptr,  # int32 [height, width]
    best_ptr,  # float32 [height, width]
    maps_ptr,  # [maps, map_height, map_width]
    offsets_ptr,  # float32 [maps], added to the maps to get logits
    weights_ptr,  # float32 [maps], class by class, descending in each
    order_ptr,  # int64 [maps], which map each weight belongs to
    starts_ptr,  # int32 [classes + 1], the first weight of each class
    row_cell_ptr,  # int64 [height]
    row_share_ptr,  # float32 [height]
    column_cell_ptr,  # int64 [width]
    column_share_ptr,  # float32 [width]
    signatures_ptr,  # float32 [classes, 2 * classes]: by class that scores
    biases_ptr,  # float32 [2 * classes]
    classes_ptr,  # int32 [classes], the index of each class
    calibrated_ptr,  # int32 [classes]
    unscored_ptr,  # int32 [1]
    null_shift_ptr,  # float32 [classes]
    null,
    background,
    variance,
    classes,
    map_height,
    map_width,
    height,
    width,
    has_background: tl.constexpr,
    rows: tl.constexpr,  # a power of two, at least classes
    tile_height: tl.constexpr,
    tile_width: tl.constexpr,
    block: tl.constexpr,
):
    """Decode as decoder.ConceptDecoder does; one program per tile."""
    pixels: tl.constexpr = tile_height * tile_width
    pixel = tl.arange(0, pixels)
    y = tl.program_id(1) * tile_height + pixel // tile_width
    x = tl.program_id(0) * tile_width + pixel % tile_width
    is_pixel = (y < height) & (x < width)
    # Pixels beyond the image read the last row and column; they are not written.
    row = tl.minimum(y, height - 1)
    column = tl.minimum(x, width - 1)
    above = tl.load(row_cell_ptr + row).to(tl.int32)
    left = tl.load(column_cell_ptr + column).to(tl.int32)
    row_share = tl.load(row_share_ptr + row)
    column_share = tl.load(column_share_ptr + column)
    first = above * map_width + left
    # Distance to the second cell, 0 at the end of the grid.
    right = tl.minimum(map_width - 1 - left, 1)
    below = tl.minimum(map_height - 1 - above, 1) * map_width

    name = tl.arange(0, rows)
    is_class = name < classes
    winning = tl.zeros((rows, pixels), tl.float32)
    exclusive = tl.zeros((rows, pixels), tl.float32)
    best = tl.zeros((pixels,), tl.float32)
    highest = tl.zeros((pixels,), tl.int32)
    for place in range(classes):
        start = tl.load(starts_ptr + place)
        stop = tl.load(starts_ptr + place + 1)
        score = tl.zeros((pixels,), tl.float32)
        for some in range(start, stop, block):
            entry = some + tl.arange(0, block)
            weights = tl.load(weights_ptr + entry, mask=entry < stop, other=0.0)
            # A map scores at most its weight. Weights descend, so those that matter come first.
            # "Not <=" keeps NaN, unlike ">".
            lowest = tl.min(score, 0)
            matters = tl.where(weights <= lowest, 0, 1)
            used = tl.sum(tl.where(entry < stop, matters, 0), 0)
            for number in range(some, some + used):
                weight = tl.load(weights_ptr + number)
                chosen = tl.load(order_ptr + number)
                cells = maps_ptr + chosen * map_height * map_width + first
                upper = tl.load(cells).to(tl.float32)
                upper += (tl.load(cells + right).to(tl.float32) - upper) * column_share
                lower = tl.load(cells + below).to(tl.float32)
                lower += (tl.load(cells + below + right).to(tl.float32) - lower) * column_share
                logit = upper + (lower - upper) * row_share + tl.load(offsets_ptr + chosen)
                score = tl.maximum(score, tl.sigmoid(logit) * weight, tl.PropagateNan.ALL)
        highest = tl.where(score > best, place, highest)
        best = tl.maximum(best, score, tl.PropagateNan.ALL)
        inside = tl.minimum(score, 1.0, tl.PropagateNan.ALL)
        by_class = signatures_ptr + place * 2 * classes + name
        of_winning = tl.load(by_class, mask=is_class, other=0.0)
        of_exclusive = tl.load(by_class + classes, mask=is_class, other=0.0)
        # A class that scores 0 cannot win.
        silent = (name == place)[:, None] & (score == 0.0)[None, :]
        winning += of_winning[:, None] * inside[None, :]
        exclusive += of_exclusive[:, None] * inside[None, :]
        winning = tl.where(silent, float("-inf"), winning)
        exclusive = tl.where(silent, float("-inf"), exclusive)
    nothing = float("-inf")
    winning_bias = tl.load(biases_ptr + name, mask=is_class, other=nothing)
    exclusive_bias = tl.load(biases_ptr + classes + name, mask=is_class, other=nothing)
    winning = winning / variance + winning_bias[:, None]
    exclusive = exclusive / variance + exclusive_bias[:, None]
    # Where a score is NaN, any class.
    by_winning = tl.minimum(tl.argmax(winning, 0, tie_break_left=True), classes - 1)
    by_exclusive = tl.minimum(tl.argmax(exclusive, 0, tie_break_left=True), classes - 1)
    chosen = tl.where(by_winning == by_exclusive, by_winning, highest)
    known = tl.load(calibrated_ptr + highest) & tl.load(calibrated_ptr + chosen)
    chosen = tl.where(known != 0, chosen, highest)
    label = tl.load(classes_ptr + chosen)
    if has_background:
        fit = tl.sum(tl.where(name[:, None] == chosen[None, :], winning, 0.0), 0)
        fit += tl.load(null_shift_ptr + chosen)
        label = tl.where((fit < null) & (known != 0), background, label)
    label = tl.where(best == 0.0, tl.load(unscored_ptr), label)
    written = y.to(tl.int64) * width + x
    tl.store(index_ptr + written, label, mask=is_pixel)
    tl.store(best_ptr + written, best, mask=is_pixel)


def launch(
    decoder: ConceptDecoder, maps: ClassMaps, rows: Axis, columns: Axis
) -> tuple[Tensor, Tensor]:
    """The class of each pixel, int32 [H, W], and its best score, float32 [H, W]: asynchronous."""
    size = len(rows), len(columns)
    device = maps.maps.device
    index = torch.empty(size, dtype=torch.int32, device=device)
    best = torch.empty(size, dtype=torch.float32, device=device)
    room, tile_height, tile_width = shape_of(len(decoder.classes))
    grid = (triton.cdiv(size[1], tile_width), triton.cdiv(size[0], tile_height))
    with torch.cuda.device_of(maps.maps):  # Triton launches on the current device
        concept_kernel[grid](
            index,
            best,
            maps.maps,
            maps.offsets,
            maps.weights,
            maps.order,
            maps.starts,
            rows.below,
            rows.fraction,
            columns.below,
            columns.fraction,
            decoder.signatures.T.contiguous(),
            decoder.biases,
            decoder.classes,
            decoder.calibrated.int(),
            decoder.unscored,
            decoder.null_shift,
            decoder.null,
            0 if decoder.background is None else decoder.background,
            decoder.variance,
            len(decoder.classes),
            *maps.maps.shape[1:],
            *size,
            has_background=decoder.background is not None,
            rows=room,
            tile_height=tile_height,
            tile_width=tile_width,
            block=BLOCK,
            num_warps=WARPS,
            enable_fp_fusion=True,
        )
    return index, best
