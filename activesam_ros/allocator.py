"""Keeps glibc from returning freed memory to the kernel, but for that of huge images.

By default glibc maps and unmaps the megabytes of every layer's output, and the kernel clears each
page again. That took a tenth to a sixth of a frame's time on a CPU.
"""

from __future__ import annotations

import ctypes

# From malloc.h. mallopt() returns 1 if it accepts the value.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8
_NEVER = 2**31 - 1

_HUGE_PIXELS = 1 << 24
"""Twice a 4K image; what smaller ones leave behind is kept."""


def keep_freed_memory() -> bool:
    """Let all threads of this process reuse freed memory; call it before tensors are made.

    The process then keeps its largest size. Returns False if the C library cannot do so.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: musl, macOS, Windows
        return False
    # One arena for all threads: any other has at most 64 MiB and would map larger blocks.
    choices = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER))
    accepted = [mallopt(option, value) for option, value in choices]
    return accepted == [1] * len(choices)


class HugeImages:
    """Gives the memory of a huge image back to the kernel when its stream goes on much smaller.

    Images of one size, however large, keep theirs, also in turn with those of another stream.
    """

    def __init__(self) -> None:
        self._largest_pixels: dict[str, int] = {}

    def next_image(self, pixels: int, stream: str = "") -> bool:
        """Call it with each image, after the one before is freed; whether memory was given back."""
        before = self._largest_pixels.get(stream, 0)
        gives_back = before >= _HUGE_PIXELS and pixels <= before // 2
        self._largest_pixels[stream] = pixels if gives_back else max(pixels, before)
        return gives_back and _trim()


def _trim() -> bool:
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError):  # no glibc
        return False
