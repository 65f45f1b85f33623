"""What corosync-qdevice said to corosync-qnetd: our client says the same bytes at the same moments."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random
from typing import Any

import pytest
from qluster.qdevice.checks import Reason
from qluster.qdevice.client import Client
from qluster.qdevice.orders import Came, Check, Checked, Open, Opened, Say, Secure, Secured
from qluster.qdevice.settings import Settings
from qluster.qnet.messages import EchoRequest, HeuristicsChange, Init, Message, NodeList, Preinit, SetOption, decode
from qluster.qnet.names import Heuristics, NodeListType
from qluster.qnet.tlv import RingId
from qnet.recorded import frames, load

SLACK = 0.12
"""Seconds by which the recorded program was late with an echo: its timers are no finer."""


class Replay:
    """One recorded client; what it was told by its own cluster is read from what it then said."""

    def __init__(self, case: dict[str, Any], steps: list[dict[str, Any]], messages: list[bytes]) -> None:
        self.steps = [step for step in steps if "send" in step or "recv" in step or "tls" in step]
        self.messages = messages
        sent = [self._read(step["send"]) for step in self.steps if "send" in step]
        [init] = [one for one in sent if isinstance(one, Init)]
        self.ahead = sent
        assert init.heartbeat_interval == 2400 and init.tie_breaker is not None and init.node_id is not None
        self.ring = init.ring_id
        heuristics = any(isinstance(one, HeuristicsChange) or getattr(one, "heuristics", None) for one in sent)
        self.client = Client(
            Settings(
                cluster_name="qlab", node=init.node_id, tie_breaker=init.tie_breaker, timeout=3.0, sync_timeout=6.0,
                tls="required" if case["tls"] != "off" else "off", heuristics="on" if heuristics else "off",
                heuristics_interval=3600.0,
            ),
            Random(1),
        )  # fmt: skip
        self.said: list[bytes] = []
        self.checks: list[int] = []
        self.secures = 0

    def _read(self, place: int) -> Message:
        [frame] = frames(self.messages[place])
        return decode(*frame)  # type: ignore[misc]

    def run(self) -> None:
        start = self.steps[0]["t"]
        lists = [one for one in self.ahead if isinstance(one, NodeList)]
        first = {kind: next(one for one in lists if one.node_list_type == kind) for kind in (0, 2, 3)}
        self._tell(first[NodeListType.INITIAL_CONFIG], start)
        self._tell(first[NodeListType.MEMBERSHIP], start)
        self._tell(first[NodeListType.QUORUM], start)
        self.client.tick(start)
        self._perform(start)
        for step in self.steps:
            now = step["t"]
            if "tls" in step:
                assert self.secures == 1
                self.client.handle(Secured(1), now)
            elif "recv" in step:
                self.client.handle(Came(1, self.messages[step["recv"]]), now)
            else:
                self._expect(self.messages[step["send"]], self._read(step["send"]), now)
            self._perform(now)
        assert self.said == []

    def _expect(self, data: bytes, message: Message, now: float) -> None:
        if not self.said:
            self._cause(message, now)
            self._perform(now)
        assert self.said, f"{message} is not said at {now}"
        assert self.said.pop(0).hex() == data.hex(), message

    def _cause(self, message: Message, now: float) -> None:
        """What the recorded node knew of when it said this."""
        match message:
            case EchoRequest():
                assert self.client.conversation is not None
                at = self.client.conversation.wake_at
                assert at == pytest.approx(now, abs=SLACK)
                self.client.tick(max(now, at))
            case HeuristicsChange():
                self.client.tick(now)
                self.client._orders += self.client.checks.begin(Reason.REGULAR, now)
                self._perform(now)
                self._check(message.heuristics, now)
            case NodeList() | SetOption() if self.checks:
                self._check(self._result(), now)
            case Preinit():
                pass
            case NodeList():
                self._tell(message, now)
                self._perform(now)
                if self.checks:
                    self._check(message.heuristics, now)

    def _result(self) -> Heuristics | None:
        return next((one.heuristics for one in self.ahead if isinstance(one, NodeList) and one.heuristics), None)

    def _check(self, result: Heuristics | None, now: float) -> None:
        self.client.handle(Checked(self.checks.pop(), "failed" if result is Heuristics.FAIL else ""), now)

    def _tell(self, said: NodeList, now: float) -> None:
        numbers = [node.node_id for node in said.nodes]
        if said.node_list_type is NodeListType.MEMBERSHIP:
            assert isinstance(said.ring_id, RingId)
            self.client.membership(said.ring_id, numbers, now)
        elif said.node_list_type is NodeListType.QUORUM:
            states = [(node.node_id, node.node_state) for node in said.nodes if node.node_state is not None]
            self.client.quorum(bool(said.quorate), states, now)
        else:
            self.client.configured(numbers, said.config_version, now)

    def _perform(self, now: float) -> None:
        for order in self.client.take():
            match order:
                case Open(attempt):
                    self.client.handle(Opened(attempt), now)
                    self._perform(now)
                case Say(_, data):
                    self.said.append(data)
                case Secure():
                    self.secures += 1
                case Check(number, _):
                    self.checks = [number]
                case _:
                    pass


def recorded() -> list[Any]:
    content = load("sessions")
    found = []
    for case in content["cases"]:
        for name in [step["connect"] for step in case["steps"] if "connect" in step]:
            steps = [step for step in case["steps"] if name in (step.get("conn"), step.get("tls"))]
            found.append(pytest.param(case, steps, id=f"{case['id']} {name}"))
    return found


@pytest.mark.parametrize(("case", "steps"), recorded())
def test_recorded_client_is_repeated_byte_for_byte(case: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    Replay(case, steps, load("sessions")["messages"]).run()
