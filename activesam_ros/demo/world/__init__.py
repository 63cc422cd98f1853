"""What there is: streets, traffic, people, weather."""
