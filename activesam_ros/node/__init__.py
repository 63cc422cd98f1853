"""The ROS 2 node: the only importers of rclpy."""
