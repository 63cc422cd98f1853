"""Open-vocabulary semantic segmentation in real time for ROS 2: SAM 3, ActiveSAM, SparseSAM."""

from pkgutil import extend_path

__version__ = "0.1.0"

# A module imported from the checkout finds the messages that colcon generated in the overlay.
__path__ = extend_path(__path__, __name__)
