"""How many queries go through the network at once where the settings leave that open.

Every size gives the same result within rounding; more queries take more memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from activesam_ros.sam3.config import Sam3Config

# The published size; larger buckets are no faster.
LARGEST = 32
# Of the free memory; the rest is for the image encoder, the mask head and other programs.
SHARE = 0.25

# Free memory of a device [bytes], None where it does not limit the size.
FreeMemory = Callable[[torch.device], "int | None"]


def free_memory(device: torch.device) -> int | None:
    """What a GPU has left, with what PyTorch holds there unused [bytes]; None on a CPU."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def query_bytes(config: Sam3Config, dtype: torch.dtype, resolution: int) -> int:
    """What one more query in a bucket takes at its peak, inside the fusion encoder's MLP [bytes].

    resolution: side of the image that the network sees [px].
    """
    tokens = (resolution // config.patch_size) ** 2
    return tokens * (config.ffn_dim + 6 * config.d_model) * dtype.itemsize


def automatic(free: int | None, bytes_per_query: int) -> int:
    """The largest power of two up to 32 that fits a quarter of ``free`` bytes, at least 1.

    32 where free is None: on a CPU.
    """
    size = LARGEST
    while free is not None and size > 1 and size * bytes_per_query > SHARE * free:
        size //= 2
    return size
