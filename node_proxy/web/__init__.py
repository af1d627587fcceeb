"""The console in a browser: its files, and what it asks the node for."""
