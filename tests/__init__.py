"""Tests, the provider stand-in and the world that they run in."""
