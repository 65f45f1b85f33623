"""Runs fence agents as Pacemaker does: parameters on their standard input, answers by exit code.

It must not know when a host is to be fenced, nor what follows from it.

An agent's own word is not enough: what it has switched off it must also show as off. A host counts as fenced when, of
one level, every agent succeeded and every one that can tell (one at least) says ``off`` afterwards. Agents that only
cut a host from network or storage are refused: what runs there would go on.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from qluster.config import FenceDevice, FencedHost, Fencing
from qluster.config.agents import Abilities, NoAgent, described, unusable
from qluster.config.fencing import INPUT_MAX
from qluster.edge import process
from qluster.events import AgentsEnded, CheckFence, Fence, PowerOn

log = logging.getLogger("qluster.fencing")

PLACES = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
"""Where agents are looked for that are named without a path."""
METADATA_SECONDS = 20.0
"""An agent describes itself without asking anybody; a slow host loads its libraries meanwhile."""
SECRET_SIZE_MAX = 1024
ON, OFF = 0, 2
"""Exit codes of ``status``."""
HIDDEN = "***"


class AgentFailed(Exception):
    """An agent cannot be used, or did not do what it was asked; the sentence is for the operator."""


class FenceAgents:
    """The agents of one host's configuration."""

    def __init__(self, fencing: Fencing) -> None:
        self._fencing = fencing
        self._abilities: dict[str, Abilities] = {}

    async def perform(self, order: Fence | PowerOn | CheckFence) -> AgentsEnded:
        """Carry out an order of the node."""
        match order:
            case Fence(_, ip):
                return await self.off(ip)
            case PowerOn(ip, level):
                return await self.on(ip, level)
            case CheckFence(ip):
                return await self.check(ip)

    async def off(self, ip: str) -> AgentsEnded:
        """Switch a host off, by the first level that can."""
        faults = []
        for number, level in enumerate(self._host(ip).levels):
            try:
                await self._off(level)
            except AgentFailed as failure:
                faults.append(f"level {number + 1}: {failure}")
                log.warning("fence-level-failed ip=%s level=%d reason=%s", ip, number + 1, failure)
            else:
                names = ", ".join(device.agent for device in level)
                return AgentsEnded(True, f"{names}: switched off, and its status says so", number)
        return AgentsEnded(False, "; ".join(faults))

    async def on(self, ip: str, number: int) -> AgentsEnded:
        """Switch it on again with the level that switched it off."""
        faults = []
        for device in self._host(ip).levels[number]:
            try:
                await self._must(device, "on")
            except AgentFailed as failure:
                faults.append(str(failure))
        return AgentsEnded(not faults, "; ".join(faults) or "switched on again", number)

    async def check(self, ip: str) -> AgentsEnded:
        """Whether the agents are there, take their parameters and reach their devices."""
        faults, found = [], []
        for number, level in enumerate(self._host(ip).levels, 1):
            try:
                found.append(f"level {number}: {await self._check(level)}")
            except AgentFailed as failure:
                faults.append(f"level {number}: {failure}")
        return AgentsEnded(not faults, "; ".join(faults or found))

    def _host(self, ip: str) -> FencedHost:
        return self._fencing.hosts[ip]

    # --- levels ---------------------------------------------------------------------------

    async def _off(self, level: Sequence[FenceDevice]) -> None:
        able = [await self._able(device) for device in level]
        self._need_witness(able)
        done: list[str] = []
        for device in level:
            try:
                await self._must(device, "off")
            except AgentFailed as failure:
                # Of two power supplies one may be off now, and its host with it: nobody switches that on again.
                before = f"; before that {', '.join(done)} had switched off its part, see what is on" if done else ""
                raise AgentFailed(f"{failure}{before}") from None
            done.append(device.agent)
        for device, abilities in zip(level, able, strict=True):
            if "status" in abilities.actions and await self._status(device) != OFF:
                raise AgentFailed(f"{device.agent} says that it switched the host off, and then that it is on")

    async def _check(self, level: Sequence[FenceDevice]) -> str:
        able = [await self._able(device) for device in level]
        self._need_witness(able)
        said = []
        for device, abilities in zip(level, able, strict=True):
            await self._must(device, "monitor")
            state = "reached"
            if "status" in abilities.actions:
                state = "off" if await self._status(device) == OFF else "on"
            said.append(f"{device.agent} {state}")
        return ", ".join(said)

    @staticmethod
    def _need_witness(able: list[Abilities]) -> None:
        if not any("status" in abilities.actions for abilities in able):
            raise AgentFailed("none of its agents can tell whether the host is off (action status). Add one that can")

    # --- one agent -------------------------------------------------------------------------

    async def _able(self, device: FenceDevice) -> Abilities:
        program = self._program(device)
        known = self._abilities.get(program)
        if known is None:
            ended = await self._run(program, device.agent, b"action=metadata\n", METADATA_SECONDS)
            if ended.code != 0:
                raise AgentFailed(f"{device.agent} does not describe itself: {ended.complaint}")
            try:
                known = self._abilities[program] = described(ended.output)
            except NoAgent as failure:
                raise AgentFailed(f"{device.agent}: {failure}") from None
        fault = unusable(device, known)
        if fault:
            raise AgentFailed(f"{device.agent} cannot be used: {fault}")
        return known

    @staticmethod
    def _program(device: FenceDevice) -> str:
        found = shutil.which(device.agent, path=PLACES)
        if found is None:
            where = "" if device.agent.startswith("/") else f" in {PLACES}"
            raise AgentFailed(f"{device.agent} is not there{where}, or is no program. Install the package fence-agents")
        return found

    async def _must(self, device: FenceDevice, action: str) -> None:
        ended, hide = await self._act(device, action)
        if ended.code != 0:
            raise AgentFailed(f"{device.agent} {action}: {_hidden(ended.complaint, hide)} (exit code {ended.code})")

    async def _status(self, device: FenceDevice) -> int:
        ended, hide = await self._act(device, "status")
        if ended.code not in (ON, OFF):
            raise AgentFailed(f"{device.agent} status: {_hidden(ended.complaint, hide)} (exit code {ended.code})")
        return ended.code

    async def _act(self, device: FenceDevice, action: str) -> tuple[process.Ended, list[str]]:
        given, hide = await asyncio.to_thread(_input, device, action)
        return await self._run(self._program(device), f"{device.agent} {action}", given, device.time_limit), hide

    @staticmethod
    async def _run(program: str, name: str, given: bytes, seconds: float) -> process.Ended:
        environment = {"PATH": PLACES, "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/")}
        try:
            return await process.run([program], environment=environment, time_limit=seconds, given=given)
        except process.CommandFailed as failure:
            raise AgentFailed(f"{name}: {failure}") from None


def _input(device: FenceDevice, action: str) -> tuple[bytes, list[str]]:
    """What an agent is given, and which of it must never be shown."""
    secrets = {name: secret_in(path) for name, path in device.secrets.items()}
    lines = [f"{name}={value}" for name, value in {**device.parameters, **secrets, "action": action}.items()]
    given = "".join(f"{line}\n" for line in lines).encode()
    if len(given) > INPUT_MAX:
        raise AgentFailed(f"{device.agent}: its parameters and secrets have {len(given)} bytes, more than {INPUT_MAX}")
    return given, sorted(secrets.values(), key=len, reverse=True)


def secret_in(path: str) -> str:
    """The secret in a file; raises AgentFailed with the reason when it cannot be had."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise AgentFailed(f"the secret in {path} cannot be read ({error.strerror})") from None
    text = content.decode("utf-8", "replace").strip("\r\n")
    if not text or len(content) > SECRET_SIZE_MAX or not text.isprintable():
        raise AgentFailed(f"{path} holds no secret of one line and at most {SECRET_SIZE_MAX} bytes")
    return text


def _hidden(said: str, secrets: list[str]) -> str:
    for secret in secrets:
        said = said.replace(secret, HIDDEN)
    return said
