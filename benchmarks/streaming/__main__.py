"""``python -m benchmarks.streaming``."""

import sys

from benchmarks.streaming.run import main

if __name__ == "__main__":
    sys.exit(main())
