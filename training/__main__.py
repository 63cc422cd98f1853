"""``python -m training`` trains the demo weights."""

import sys

from activesam_ros.cli import run_command
from training import train

if __name__ == "__main__":
    sys.exit(run_command(train, "python -m training", sys.argv[1:]))
