"""Where fuzzing starts from: inputs that are accepted, or nearly."""

from __future__ import annotations

import json

from tests.fuzz.targets import TARGETS

_DID = b"did:nv:" + b"ab" * 32
_SIWE = (
    b"node.example wants you to sign in with your Ethereum account:\n0x52908400098527886E0F7030069857D2E4169EE7\n\n"
    b"Get an API key.\n\nURI: https://node.example\nVersion: 1\nChain ID: 1\nNonce: abcdefgh12345678\n"
    b"Issued At: 2026-01-01T00:00:00Z\nExpiration Time: 2026-01-01T00:05:00Z"
)
_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "so"}]},
    ],
    "usage": {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 5},
}
_DELTA = {
    "type": "response.output_text.delta",
    "item_id": "msg_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "x",
    "logprobs": [],
    "sequence_number": 4,
}
_REQUEST = {
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call_output", "call_id": "call_1", "output": "5"},
    ],
    "temperature": 0.5,
    "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}],
    "tool_choice": "auto",
    "text": {"format": {"type": "json_object"}},
    "metadata": {"a": "b"},
    "stream": True,
    "max_output_tokens": 9,
}
_DEFINITION = {
    "v": 1,
    "dialect": "responses",
    "base_url": "https://api.openai.com/v1",
    "api_key": "sk-x",
    "model": "gpt-5",
    "instructions": "x",
    "tools": [],
    "settings": {"temperature": 1},
    "policy": {"images": True},
    "pricing": {"kind": "fixed"},
}

SEEDS: dict[str, list[bytes]] = {
    **{name: [b""] for name in TARGETS},
    "did": [_DID, _DID.upper()],
    "did_url": [_DID + b"?versionId=2&versionTime=2026-01-01T00:00:00Z#key-1", _DID + b"/path"],
    "cid": [b"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"],
    "strict_json": [b'{"a":[1,true,null,"\\ud83d\\ude00"],"b":{}}', b"[1e5]", b'{"a":1,"a":2}'],
    "metadata": [b'{"description":"","title":"Plan","v":1}'],
    "definition": [json.dumps(_DEFINITION).encode(), b'{"images":true}', b'{"v":1,"ciphertext":"AA=="}'],
    "sign_in": [_SIWE],
    "words": [b"0.1 ETH", b"30d", b"12.5%", b"https://node.example/v1", b"maths"],
    "api_key": [b"nvm_" + b"A" * 49, b"sk-proj-abc"],
    "events": [b"event: a\ndata: {}\n\n", b"\xef\xbb\xbfdata: 1\r\n\r\n: c\r\rdata: 2\n\n"],
    "request": [json.dumps(_REQUEST).encode()],
    "face": [json.dumps(_RESPONSE).encode(), json.dumps(_DELTA).encode()],
    "addresses": [b"https://a.example.org/v1", b"http://127.0.0.1:1/v1", b"https://0x7f.1/v1"],
    "settings": [b"RPC_URL=http://x\nBIND=127.0.0.1:80\nMAX_CALLS=5"],
}
