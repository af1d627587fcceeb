"""How a question ended is counted, also where it was never asked."""

from __future__ import annotations

from typing import Any, cast

import pytest

from node_proxy.dialects.responses import refuse_state
from node_proxy.errors import UnsupportedParameter
from node_proxy.openai.request import Prepared
from node_proxy.openai.responses import _Call
from node_proxy.relay.heartbeat import Heartbeat


class Access:
    """Its provider can't be told what was asked."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def face(self, _: object) -> None:
        """Nothing will be shown."""

    def ask(self, body: dict[str, Any], **_: object) -> None:
        refuse_state(body)

    def ended(self, outcome: str) -> None:
        self.outcomes.append(outcome)


async def test_a_question_that_the_dialect_refuses_is_counted() -> None:
    access, prepared = Access(), Prepared(body={"previous_response_id": "resp_1"})
    call = _Call(cast(Any, None), cast(Any, access), prepared, None, Heartbeat(), 1.0)
    with pytest.raises(UnsupportedParameter):
        await call.run()
    assert access.outcomes == ["unsupported_parameter"]
