"""Smaller buckets for a while when memory runs out."""

from __future__ import annotations

from activesam_ros.errors import ActiveSamError

FEWER = 4
KEPT_FRAMES = 200


class FrameMemoryError(ActiveSamError):
    """The device has no memory for a frame."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # PyTorch's CPU allocator raises a plain RuntimeError.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


class BucketSizes:
    """The bucket size in use: the configured one, or a smaller one after memory ran out.

    The smaller size stays for KEPT_FRAMES frames, since the next frame needs as much memory as this
    one. Then the configured size is tried again: whatever took the memory may be gone.
    """

    def __init__(self) -> None:
        self._size: int | None = None
        self._kept = 0

    def size(self, configured: int) -> int:
        """The bucket size for the next frame."""
        return configured if self._size is None else min(self._size, configured)

    def shrink(self, configured: int) -> bool:
        """Take a smaller size; False if there is none."""
        size = self.size(configured)
        if size == 1:
            return False
        self._size = max(1, size // FEWER)
        self._kept = KEPT_FRAMES
        return True

    def succeeded(self) -> None:
        """A frame was segmented."""
        if self._size is not None:
            self._kept -= 1
            if self._kept <= 0:
                self._size = None
