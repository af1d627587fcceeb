"""What each operation of the HTTP API does, in a line: `VERB /address: …`. A route without a line fails a test."""

from __future__ import annotations

_WORDS = """
GET /: The console.
GET /.well-known/nvm-node.json: Who the node is: account, encryption key, chain, contracts.
GET /1.0/identifiers/{did}: Resolve a DID, or dereference a DID URL.
GET /a/{did}: An assistant's public page.
GET /a/{did}/badge.svg: A badge for a README.
GET /a/{did}/embed: A card for other sites' frames.
GET /assets/{name}: A file of the console.
GET /auth/keys: List the wallet's API keys.
POST /auth/keys: Make another API key of the same wallet.
GET /auth/keys/{id}: Retrieve an API key, without its secret.
DELETE /auth/keys/{id}: Revoke an API key.
POST /auth/login: Sign in with a wallet and get an API key.
GET /auth/nonce: A nonce, and with an address the message to sign.
GET /auth/session: Who is signed in, and the token that changes need.
POST /auth/session: Sign in with a wallet and get a browser's session.
DELETE /auth/session: Sign out.
PUT /blocks: Keep a metadata block.
GET /blocks/{cid}: A block's bytes.
GET /card.png: The picture beside a link to an assistant.
GET /catalogue: The assistants that the node serves.
GET /console.json: What the console has to know of the node.
GET /favicon.ico: The console's icon.
GET /favicon.svg: The console's icon.
GET /healthz: Whether the process lives.
GET /metrics: Numbers for Prometheus.
GET /openapi.json: This document.
GET /operator: What only the node's operator may see.
GET /readyz: Whether calls are admitted now.
POST /provider-check: Ask whether a provider takes a key, sealed to the node.
POST /rpc: Read the chain through the node.
GET /v1/account: What the wallet holds under each plan.
GET /v1/assistants: List the assistants that the wallet's plans open.
POST /v1/assistants: Refused: builders register assistants on-chain.
GET /v1/assistants/{id}: Retrieve an assistant.
POST /v1/assistants/{id}: Refused: builders change their assistants on-chain.
DELETE /v1/assistants/{id}: Refused: builders retire their assistants on-chain.
POST /v1/audio/speech: Refused, with what to do instead.
POST /v1/audio/transcriptions: Refused, with what to do instead.
POST /v1/audio/translations: Refused, with what to do instead.
GET /v1/chat/completions: List the completions that were kept.
POST /v1/chat/completions: One access of an assistant, plain or streamed, in the words of Chat Completions.
GET /v1/chat/completions/{id}: Retrieve a completion that was kept.
POST /v1/chat/completions/{id}: Change the metadata of a completion that was kept.
DELETE /v1/chat/completions/{id}: Forget a completion that was kept.
GET /v1/chat/completions/{id}/messages: List the messages that a completion answers.
POST /v1/completions: Refused, with what to do instead.
POST /v1/conversations: Begin a conversation.
GET /v1/conversations/{id}: Retrieve a conversation.
POST /v1/conversations/{id}: Change a conversation's metadata.
DELETE /v1/conversations/{id}: Delete a conversation and its items.
GET /v1/conversations/{id}/items: List a conversation's items.
POST /v1/conversations/{id}/items: Add items to a conversation.
GET /v1/conversations/{id}/items/{item}: Retrieve an item of a conversation.
DELETE /v1/conversations/{id}/items/{item}: Delete an item of a conversation.
POST /v1/embeddings: Refused, with what to do instead.
GET /v1/files: List the files that were uploaded.
POST /v1/files: Upload a file.
GET /v1/files/{id}: Retrieve what a file is called and how long it is.
DELETE /v1/files/{id}: Delete a file.
GET /v1/files/{id}/content: A file's bytes.
POST /v1/images/generations: Refused, with what to do instead.
GET /v1/models: List the assistants that the key may use and a plan of the wallet opens.
GET /v1/models/{id}: Retrieve one of them, bought or not.
POST /v1/moderations: Refused, with what to do instead.
GET /v1/receipts: List receipts of what was charged.
GET /v1/receipts/{id}: Retrieve the signed receipt of a charge.
GET /v1/receipts/{id}/proof: Proof of a receipt that anybody can check against the chain alone.
POST /v1/responses: One access of an assistant, plain, streamed or in the background.
POST /v1/responses/input_tokens: Count the tokens of an input.
GET /v1/responses/{id}: Retrieve a response that was kept.
DELETE /v1/responses/{id}: Delete a response.
POST /v1/responses/{id}/cancel: Cancel a response in the background.
GET /v1/responses/{id}/input_items: List what a response was asked.
POST /v1/threads: Begin a thread.
POST /v1/threads/runs: Begin a thread and run it.
GET /v1/threads/{id}: Retrieve a thread.
POST /v1/threads/{id}: Change a thread's metadata.
DELETE /v1/threads/{id}: Delete a thread with all that is in it.
GET /v1/threads/{id}/messages: List a thread's messages.
POST /v1/threads/{id}/messages: Add a message to a thread.
GET /v1/threads/{id}/messages/{message}: Retrieve a message.
POST /v1/threads/{id}/messages/{message}: Change a message's metadata.
DELETE /v1/threads/{id}/messages/{message}: Delete a message.
GET /v1/threads/{id}/runs: List a thread's runs.
POST /v1/threads/{id}/runs: Run a thread: one access of an assistant, plain or streamed.
GET /v1/threads/{id}/runs/{run}: Retrieve a run.
POST /v1/threads/{id}/runs/{run}: Change a run's metadata.
POST /v1/threads/{id}/runs/{run}/cancel: Cancel a run.
GET /v1/threads/{id}/runs/{run}/steps: List a run's steps.
GET /v1/threads/{id}/runs/{run}/steps/{step}: Retrieve a step of a run.
POST /v1/threads/{id}/runs/{run}/submit_tool_outputs: Give a run the outputs that it waits for.
POST /v1/vouchers: Hand in a signed voucher.
GET /v1/vouchers/{plan}: Retrieve the highest voucher that the node has.
"""

SUMMARIES: dict[str, str] = dict(line.split(": ", 1) for line in _WORDS.strip().splitlines())
