"""SparseSAM: the network's heavy stages on a share of their tokens, without training."""
