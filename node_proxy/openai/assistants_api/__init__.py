"""The Assistants API (v2), kept alive: assistants, threads, messages, runs and run steps, one module per noun.

Threads and messages live with the node, encrypted; a run is one access that asks the assistant in Responses' words,
over whichever dialect its provider speaks.
"""
