"""OpenAI's surfaces, one file each. Nothing here talks to the chain."""
