"""Which inactive queries a frame previews: a slice of constant size, longest unseen first.

Why no query waits longer than ``preview_interval`` frames: ``order`` is a queue of all queries by
their last look, the oldest first. Whoever was looked at goes to its end, so nobody gets ahead of a
query that waits. Of Q queries that are not pinned at most Q - 1 are ahead of it, and every frame
takes ceil(Q / preview_interval) from the front.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import islice


def slice_size(queries: int, preview_interval: int) -> int:
    """How many of ``queries``, those that are not pinned, each frame previews."""
    return math.ceil(queries / preview_interval)


def next_looks(order: Collection[int], decoded: Collection[int], size: int) -> tuple[int, ...]:
    """The first ``size`` queries of ``order`` that are not ``decoded`` anyway, ascending."""
    return tuple(sorted(islice((query for query in order if query not in decoded), size)))


def after_looks(order: Collection[int], seen: Collection[int]) -> tuple[int, ...]:
    """``order`` after a frame that previewed or decoded the queries in ``seen``."""
    return (*(query for query in order if query not in seen), *sorted(seen))
