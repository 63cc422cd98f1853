"""Keeps glibc from returning freed memory to the kernel.

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
