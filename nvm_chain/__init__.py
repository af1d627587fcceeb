"""Sell and buy access to AI assistants on-chain: DIDs, plans, metadata, sealing."""

__version__ = "0.1.0"
