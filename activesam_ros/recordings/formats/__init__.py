"""The file formats of recordings: MCAP, SQLite and ROS 1."""
