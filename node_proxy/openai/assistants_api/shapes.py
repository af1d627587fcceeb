"""The API's objects as they are first made. Times are whole unix seconds; what isn't so yet is null."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

ACTIVE = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
"""Statuses of a run that keeps its thread to itself."""

NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def thread(id: str, now: int, body: Json) -> Json:
    """A thread. body: a checked request."""
    return {
        "id": id,
        "object": "thread",
        "created_at": now,
        "metadata": body.get("metadata", {}),
        "tool_resources": {},
    }


def message(id: str, thread_id: str, now: int, role: str, content: list[Json], **members: Any) -> Json:
    """A message; `members` instead of what one that is complete has."""
    return {
        "id": id,
        "object": "thread.message",
        "created_at": now,
        "completed_at": None,
        "incomplete_at": None,
        "incomplete_details": None,
        "thread_id": thread_id,
        "assistant_id": None,
        "run_id": None,
        "role": role,
        "status": "completed",
        "content": content,
        "attachments": [],
        "metadata": {},
        **members,
    }


def run(id: str, thread_id: str, now: int, expires_at: int, assistant_id: str, model: str, echo: Json) -> Json:
    """A queued run. model: how the assistant is called in `model`. echo: what the caller asked for, as a run has it."""
    return {
        "id": id,
        "object": "thread.run",
        "created_at": now,
        "assistant_id": assistant_id,
        "thread_id": thread_id,
        "status": "queued",
        "started_at": None,
        "expires_at": expires_at,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "required_action": None,
        "last_error": None,
        "model": model,
        "instructions": "",
        "tools": [],
        "metadata": {},
        "incomplete_details": None,
        "usage": None,
        "temperature": None,
        "top_p": None,
        "max_prompt_tokens": None,
        "max_completion_tokens": None,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "response_format": "auto",
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        **echo,
    }


def step(id: str, run: Json, now: int, details: Json) -> Json:
    """A step in progress. details: `step_details`."""
    return {
        "id": id,
        "object": "thread.run.step",
        "created_at": now,
        "run_id": run["id"],
        "assistant_id": run["assistant_id"],
        "thread_id": run["thread_id"],
        "type": details["type"],
        "status": "in_progress",
        "cancelled_at": None,
        "completed_at": None,
        "expired_at": None,
        "failed_at": None,
        "last_error": None,
        "metadata": {},
        "step_details": details,
        "usage": None,
    }


def assistant(id: str, created: int, title: str, description: str, model: str) -> Json:
    """The public face of an assistant: nothing of its definition."""
    return {
        "id": id,
        "object": "assistant",
        "created_at": created,
        "name": title[:256] or None,
        "description": description[:512] or None,
        "model": model,
        "instructions": None,
        "tools": [],
        "tool_resources": None,
        "metadata": {},
        "temperature": None,
        "top_p": None,
        "response_format": "auto",
    }


def deleted(id: str, kind: str) -> Json:
    """The answer to a deletion. kind: of the object, `thread`."""
    return {"id": id, "object": f"{kind}.deleted", "deleted": True}
