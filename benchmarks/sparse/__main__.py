"""``python -m benchmarks.sparse``."""

from benchmarks.sparse.run import main

if __name__ == "__main__":
    main()
