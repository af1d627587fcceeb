"""Measurements: what the contracts cost in gas, what the node costs in time."""
