"""Enlarge, weight and merge the maps of several queries in one kernel; needs Triton.

Each program holds the best two scores of one tile of pixels in registers while it loops over the
queries and their maps, so no map is ever written at image size.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from activesam_ros.segmentation.score_maps.tiles import TILE, Axis
from activesam_ros.segmentation.score_maps.weighted_maps import BestTwo, WeightedMaps

# The most at which the registers of a tile do not spill.
WARPS = 8
# One compilation serves all sizes of image, mask grid and group.
_ANY = ["queries", "maps", "map_height", "map_width", "height", "width"]


@triton.jit(do_not_specialize=_ANY)
def merge_kernel(
    best_ptr,  # float32 [tiles down * TILE, tiles across * TILE], inf beyond the image
    second_ptr,  # of the same size where it is needed
    index_ptr,  # int32, of the same size
    classes_ptr,  # int32 [queries]
    maps_ptr,  # [queries, maps, map_height, map_width]
    offsets_ptr,  # float32 [queries, maps], added to the maps to get logits
    weights_ptr,  # float32 [queries, maps], descending
    order_ptr,  # int64 [queries, maps], which map each weight belongs to
    counts_ptr,  # int32 [queries], how many weights count
    row_cell_ptr,  # int64 [height]
    row_share_ptr,  # float32 [height]
    column_cell_ptr,  # int64 [width]
    column_share_ptr,  # float32 [width]
    queries,
    maps,
    map_height,
    map_width,
    height,
    width,
    needs_second: tl.constexpr,
    tile: tl.constexpr,
    ranks: tl.constexpr,  # a power of two, at least maps
):
    """Merge into best, second and index as fuse.ClassScores does; one program per tile."""
    across = tl.program_id(0)
    down = tl.program_id(1)
    stride = tl.num_programs(0) * tile
    corner = (down * tile).to(tl.int64) * stride + across * tile
    inside = tl.arange(0, tile)[:, None] * stride + tl.arange(0, tile)[None, :]
    y = down * tile + tl.arange(0, tile)
    x = across * tile + tl.arange(0, tile)
    is_pixel = (y < height)[:, None] & (x < width)[None, :]
    # Pixels beyond the image read the last row and column: no score exceeds inf there.
    row = tl.minimum(y, height - 1)
    column = tl.minimum(x, width - 1)
    above = tl.load(row_cell_ptr + row).to(tl.int32)
    left = tl.load(column_cell_ptr + column).to(tl.int32)
    row_share = tl.load(row_share_ptr + row)[:, None]
    column_share = tl.load(column_share_ptr + column)[None, :]
    # Distance to the second cell, 0 at the end of the grid; its index would take more registers.
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
        # Scores below this change nothing in the tile; a map scores at most its weight.
        settled = best
        if needs_second:
            settled = second
        lowest = tl.min(tl.min(tl.where(is_pixel, settled, float("inf")), 1), 0)
        weights = tl.load(weights_ptr + query * maps + rank, mask=counts, other=0.0)
        # Weights descend, so those that matter come first. "Not <" keeps NaN, unlike ">=".
        matters = tl.where(weights < lowest, 0, 1)
        used = tl.sum(tl.where(counts, matters, 0), 0)
        scored = tl.zeros((tile, tile), tl.float32)
        for place in range(used):
            weight = tl.load(weights_ptr + query * maps + place)
            chosen = tl.load(order_ptr + query * maps + place)
            cells = maps_ptr + (query * maps + chosen) * map_height * map_width + first
            upper = tl.load(cells).to(tl.float32)
            upper += (tl.load(cells + right).to(tl.float32) - upper) * column_share
            lower = tl.load(cells + below).to(tl.float32)
            lower += (tl.load(cells + below + right).to(tl.float32) - lower) * column_share
            offset = tl.load(offsets_ptr + query * maps + chosen)
            logit = upper + (lower - upper) * row_share + offset
            scored = tl.maximum(scored, tl.sigmoid(logit) * weight, tl.PropagateNan.ALL)
        # A score of 0, as of a query without maps, changes nothing.
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
    so_far: BestTwo, classes: torch.Tensor, maps: WeightedMaps, rows: Axis, columns: Axis
) -> None:
    """Merge the maps of P queries, of the classes int32 [P], into ``so_far``: asynchronous."""
    queries, count, map_height, map_width = maps.maps.shape
    down, across = (side // TILE for side in so_far.best.shape)
    with torch.cuda.device_of(maps.maps):  # Triton launches on the current device
        merge_kernel[(across, down)](
            so_far.best,
            so_far.second,
            so_far.index,
            classes,
            maps.maps,
            maps.offsets,
            maps.weights,
            maps.order,
            maps.counts,
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
            needs_second=len(so_far.second) > 0,
            tile=TILE,
            ranks=triton.next_power_of_2(count),
            num_warps=WARPS,
            enable_fp_fusion=True,
        )
