"""What the node leaves out under load: to keep the latency budget, and where memory runs out."""
