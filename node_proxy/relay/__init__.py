"""The way to the builder's provider and back: a client that trusts nobody, and the event stream."""
