"""What the node adds to a relayed call: load generator, upstream, the bare relay and peers to compare with."""
