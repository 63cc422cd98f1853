"""``python -m activesam_ros.node.playback BAG`` plays the recording BAG."""

import sys

from activesam_ros.node.playback.player import main

if __name__ == "__main__":
    sys.exit(main())
