"""``python -m benchmarks.sparse``."""

import sys

from benchmarks.sparse.run import main

if __name__ == "__main__":
    sys.exit(main())
