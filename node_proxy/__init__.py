"""The access node: relays OpenAI-compatible calls that the chain says are paid for."""
