"""How many queries go through the network at once with ``bucket_size: auto``.

The size does not change the result beyond rounding; larger buckets take more memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from activesam_ros.sam3.config import Sam3Config

# The published size; larger buckets are not faster.
LARGEST = 32
# Share of the free memory; image encoder, mask head and other programs need the rest.
SHARE = 0.25

# Free memory of a device [bytes], None where memory does not limit the bucket size.
FreeMemory = Callable[[torch.device], "int | None"]


def free_memory(device: torch.device) -> int | None:
    """Free memory of a GPU, including what PyTorch holds unused [bytes]; None on a CPU."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def query_bytes(config: Sam3Config, dtype: torch.dtype, resolution: int) -> int:
    """Peak memory of one more query in a bucket, in the fusion encoder's MLP [bytes].

    resolution: side of the square that the network sees [px].
    """
    tokens = (resolution // config.patch_size) ** 2
    return tokens * (config.ffn_dim + 6 * config.d_model) * dtype.itemsize


def automatic(free: int | None, bytes_per_query: int) -> int:
    """The largest power of two up to 32 whose queries fit a quarter of ``free`` bytes; at least 1.

    32 where ``free`` is None, on a CPU.
    """
    size = LARGEST
    while free is not None and size > 1 and size * bytes_per_query > SHARE * free:
        size //= 2
    return size
