"""``python -m activesam_ros.node.playback BAG`` plays the recording BAG."""

import os
import signal
import sys

# Importing takes seconds. Until the playback has its own handlers, Ctrl-C ends it at once.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: os._exit(0))

from activesam_ros.node.playback.player import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
