"""A strict stand-in for an OpenAI-compatible provider, for tests, benchmarks and the demo.

It speaks OpenAI's wire format as the `openai` package types it (Responses, Conversations, Chat Completions, Models,
Files and the legacy Assistants v2), answers deterministically, and refuses what OpenAI refuses. Start it with
`python -m tests.provider`, or in a test with `async with serve() as provider`.

A *token* is a word with the white space before it, everywhere: in usage figures, in `max_output_tokens`, and in
streams, which carry one token per delta. An image or a file counts 100.

The answer to a message repeats it; sums such as `17 * 23` are worked out. *Directives* in the last user message, in the
model's name (`fault:fail+500`) or queued over the control endpoint change that; see `script.Script` for the list.
"""

from tests.provider.server import Provider, serve

__all__ = ["Provider", "serve"]
