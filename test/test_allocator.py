from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from activesam_ros import allocator
from activesam_ros.allocator import HugeImages

SCRIPT = """
import resource, sys, threading
import torch
from activesam_ros.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(12_500_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():
    faults()
    print(faults())

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_pages_of_freed_tensors_are_used_again() -> None:
    def faults(choice: str) -> int:
        command = (sys.executable, "-c", SCRIPT, choice)
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    # Ten tensors of 50 MB are some 122,000 pages of 4 KiB. glibc maps what exceeds 32 MiB.
    assert faults("keep") < 1000
    assert faults("leave") > 50_000


HUGE = """
import sys
import numpy as np
from activesam_ros.allocator import HugeImages, keep_freed_memory

assert keep_freed_memory()
huge = HugeImages()

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

before = resident_mib()
for side in map(int, sys.argv[1:]):
    gave_back = huge.next_image(side * side)
    layers = [np.ones((side, side), np.float32) for _ in range(4)]
    del layers
print(int(gave_back), resident_mib() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
@pytest.mark.parametrize(
    ("sides", "gives_back"), [((5000, 600), True), ((5000, 4000), False), ((1600, 600), False)]
)
def test_a_huge_image_gives_its_memory_back_when_a_small_one_follows(
    sides: tuple[int, int], gives_back: bool
) -> None:
    command = (sys.executable, "-c", HUGE, *map(str, sides))
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    gave_back, left_mib = map(int, result.stdout.split())
    assert bool(gave_back) == gives_back
    if gives_back:
        assert left_mib < 40  # of 400


def test_cameras_of_two_sizes_keep_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[bool] = []

    def trim() -> bool:
        given_back.append(True)
        return True

    monkeypatch.setattr(allocator, "_trim", trim)
    huge = HugeImages()
    for _ in range(3):
        huge.next_image(1 << 25, "front")
        huge.next_image(1 << 20, "rear")
    assert not given_back
    assert huge.next_image(1 << 20, "front")
    assert given_back == [True]
