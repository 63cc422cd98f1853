"""Enlarging, weighing and merging the maps of several queries in one kernel; needs Triton.

A program holds the best two of one tile of pixels in registers while it goes through the queries
and their maps, so that no map is ever written at image size.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from activesam_ros.segmentation.layers import Layers, Running
from activesam_ros.segmentation.tiles import TILE, Axis

# As many as leave the registers of a tile without spilling.
WARPS = 8
# One compilation serves every size of image, grid and group.
_ANY = ["queries", "layers", "map_height", "map_width", "height", "width"]


@triton.jit(do_not_specialize=_ANY)
def merge_kernel(
    best_ptr,  # float32 [tiles down * TILE, tiles across * TILE], inf beyond the image
    second_ptr,  # the same size where it is needed
    index_ptr,  # int32, the same size
    classes_ptr,  # int32 [queries]
    maps_ptr,  # [queries, layers, map_height, map_width]
    offsets_ptr,  # float32 [queries, layers], with which maps are logits
    weights_ptr,  # float32 [queries, layers], descending
    order_ptr,  # int64 [queries, layers], which map each weight is of
    counts_ptr,  # int32 [queries], how many weights count
    row_cell_ptr,  # int64 [height]
    row_share_ptr,  # float32 [height]
    column_cell_ptr,  # int64 [width]
    column_share_ptr,  # float32 [width]
    queries,
    layers,
    map_height,
    map_width,
    height,
    width,
    needs_second: tl.constexpr,
    tile: tl.constexpr,
    ranks: tl.constexpr,  # a power of two, at least layers
):
    """Merge into best, second and index as fuse.take does, one program a tile."""
    across = tl.program_id(0)
    down = tl.program_id(1)
    stride = tl.num_programs(0) * tile
    corner = (down * tile).to(tl.int64) * stride + across * tile
    inside = tl.arange(0, tile)[:, None] * stride + tl.arange(0, tile)[None, :]
    y = down * tile + tl.arange(0, tile)
    x = across * tile + tl.arange(0, tile)
    is_pixel = (y < height)[:, None] & (x < width)[None, :]
    # Beyond the image the last row and column serve: nothing exceeds the infinity there.
    row = tl.minimum(y, height - 1)
    column = tl.minimum(x, width - 1)
    above = tl.load(row_cell_ptr + row).to(tl.int32)
    left = tl.load(column_cell_ptr + column).to(tl.int32)
    row_share = tl.load(row_share_ptr + row)[:, None]
    column_share = tl.load(column_share_ptr + column)[None, :]
    # To the second cell, the first itself at the end of the grid; cells would take more registers.
    first = above[:, None] * map_width + left[None, :]
    right = tl.minimum(map_width - 1 - left, 1)[None, :]
    below = tl.minimum(map_height - 1 - above, 1)[:, None] * map_width

    best = tl.load(best_ptr + corner + inside)
    index = tl.load(index_ptr + corner + inside)
    second = best
    if needs_second:
        second = tl.load(second_ptr + corner + inside)
    rank = tl.arange(0, ranks)
    for query in range(queries):
        class_index = tl.load(classes_ptr + query)
        counts = rank < tl.load(counts_ptr + query)
        # Below this nothing changes here; a weight is the most that its map scores.
        settled = best
        if needs_second:
            settled = second
        lowest = tl.min(tl.min(tl.where(is_pixel, settled, float("inf")), 1), 0)
        weights = tl.load(weights_ptr + query * layers + rank, mask=counts, other=0.0)
        # Weights descend, so those that matter come first. Not >=: what is no number matters.
        matters = tl.where(weights < lowest, 0, 1)
        used = tl.sum(tl.where(counts, matters, 0), 0)
        scored = tl.zeros((tile, tile), tl.float32)
        for place in range(used):
            weight = tl.load(weights_ptr + query * layers + place)
            layer = tl.load(order_ptr + query * layers + place)
            cells = maps_ptr + (query * layers + layer) * map_height * map_width + first
            upper = tl.load(cells).to(tl.float32)
            upper += (tl.load(cells + right).to(tl.float32) - upper) * column_share
            lower = tl.load(cells + below).to(tl.float32)
            lower += (tl.load(cells + below + right).to(tl.float32) - lower) * column_share
            offset = tl.load(offsets_ptr + query * layers + layer)
            logit = upper + (lower - upper) * row_share + offset
            scored = tl.maximum(scored, tl.sigmoid(logit) * weight, tl.PropagateNan.ALL)
        # A score of 0, also of a query without maps, changes nothing.
        wins = (scored > best) | ((scored == best) & (index > class_index))
        if needs_second:
            candidate = tl.minimum(scored, best, tl.PropagateNan.ALL)
            candidate = tl.where(index == class_index, 0.0, candidate)
            second = tl.maximum(second, candidate, tl.PropagateNan.ALL)
        best = tl.maximum(best, scored, tl.PropagateNan.ALL)
        index = tl.where(wins, class_index, index)
    tl.store(best_ptr + corner + inside, best)
    tl.store(index_ptr + corner + inside, index)
    if needs_second:
        tl.store(second_ptr + corner + inside, second)


def launch(
    running: Running, classes: torch.Tensor, layers: Layers, rows: Axis, columns: Axis
) -> None:
    """Merge ``layers`` of the classes int32 [P] into ``running``, in place, without waiting."""
    queries, count, map_height, map_width = layers.maps.shape
    down, across = (side // TILE for side in running.best.shape)
    with torch.cuda.device_of(layers.maps):  # which Triton launches on
        merge_kernel[(across, down)](
            running.best,
            running.second,
            running.index,
            classes,
            layers.maps,
            layers.offsets,
            layers.weights,
            layers.order,
            layers.counts,
            rows.below,
            rows.fraction,
            columns.below,
            columns.fraction,
            queries,
            count,
            map_height,
            map_width,
            len(rows),
            len(columns),
            needs_second=len(running.second) > 0,
            tile=TILE,
            ranks=triton.next_power_of_2(count),
            num_warps=WARPS,
            enable_fp_fusion=True,
        )
