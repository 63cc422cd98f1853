"""How the C library hands memory back: not at all, once a process has grown to its size.

Every layer's output is some megabytes that glibc maps and unmaps anew; the kernel then clears each
page again, which took a tenth to a sixth of a frame's time on a CPU.
"""

from __future__ import annotations

import ctypes

# From malloc.h; mallopt() answers 1 where it took the value.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Reuse freed memory in this process, in all of its threads; call it before tensors are made.

    The process keeps its largest size. Returns False where the C library has no such choice.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: musl, macOS, Windows
        return False
    # One arena: a thread's own is at most 64 MiB large and would map what exceeds it.
    choices = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER))
    answers = [mallopt(option, value) for option, value in choices]  # all are to be made
    return answers == [1] * len(choices)
