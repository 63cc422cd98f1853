"""Open-vocabulary semantic segmentation in real time for ROS 2: SAM 3, ActiveSAM, SparseSAM."""

__version__ = "0.1.0"
