from __future__ import annotations

import platform
import subprocess
import sys

import pytest

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
