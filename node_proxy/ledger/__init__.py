"""What the node writes down about credits: reservations, charges, batches. Knows nothing of HTTP."""
