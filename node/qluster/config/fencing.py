"""How the hosts of other nodes are fenced: what a section of config.yaml may say of it, and what that becomes.

It must not look for the agents on the host, nor run any: that is ``edge/fencing.py``.

Each host's file says how each of the *others* is fenced, since any node may have to fence any other and the one that
is to be fenced cannot be asked. Nothing of it goes through the log or over the network; what is secret stands in
files of its own.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .addresses import read_host
from .document import Mapping, Sequence, Value
from .kinds import Choice, Duration, Kind, Path, WrongItems, scalar_text, shown

HOSTS_MAX = 100
"""As many as a cluster has nodes."""
LEVELS_MAX = 8
DEVICES_MAX = 8
"""Devices of one level: a host has no more power supplies than that."""
PARAMETERS_MAX = 64
INPUT_MAX = 4096
"""Bytes that an agent is given: they fit into any pipe."""
INPUT_RESERVED = 64
"""Of them for the action, and the line's ends."""

_AGENT = re.compile(r"fence_[A-Za-z0-9_.-]+|/[^\s\x00-\x1f]+")
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_VALUE = re.compile(r"[^\x00-\x1f\x7f]{0,1024}")
DECIDED = frozenset({"action", "option"})
"""What the daemon tells an agent by itself."""
TALKATIVE = frozenset({"verbose", "verbose_level", "debug", "debug-file", "debug_file"})
"""With these an agent writes down what it is given."""
_SECRET = re.compile(r"pass(w|phrase|code)|secret|token|community|(^|_)apikey|priv-passwd")
_IN_FILE = re.compile(r"(_script|_file|-file|-script)$")

ACTION = Choice(("off", "reboot"))
TIME_LIMIT = Duration("1s", "10m")
DELAY = Duration("0s", "10m")
PATH = Path()


def secret(parameter: str) -> bool:
    """Whether the value of a parameter must not stand in a file that many read."""
    name = parameter.lower()
    return bool(_SECRET.search(name)) and not _IN_FILE.search(name)


@dataclass(frozen=True, slots=True)
class FencedHosts:
    """Address of a host → how it is fenced. ``read`` gives plain values, of which a FencedHost is made."""

    label: str = "section: address → `action`, `delay`, `levels`"

    def read(self, value: Value) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError("is no section. Write the address of each host to be fenced, and `levels` below it.")
        if len(value.items) > HOSTS_MAX:
            raise ValueError(f"names {len(value.items)} hosts, the limit is {HOSTS_MAX}.")
        found: dict[str, Any] = {}
        wrong: list[tuple[str, int, str]] = []
        for word, item in value.items.items():
            reader = _Reader(word, value.key_lines.get(word, value.line), wrong)
            host = reader.take("", lambda word=word: read_host(word))
            if host is not None and host in found:
                wrong.append((shown(word), reader.line, f"is {host}, which is named before. Keep one of them."))
            elif host is not None:
                found[host] = reader.host(item)
        if wrong:
            raise WrongItems(wrong)
        return found

    def text(self, value: object) -> str:
        return ",".join(sorted(value)) if isinstance(value, dict) else ""


class _Reader:
    """Reads one host, and gathers what is wrong with it."""

    def __init__(self, name: str, line: int, wrong: list[tuple[str, int, str]]) -> None:
        self._name = shown(name)
        self.line = line
        self._wrong = wrong

    def take(self, where: str, read: Any) -> Any:
        """What ``read`` gives; None when it refuses, which is noted."""
        try:
            return read()
        except ValueError as error:
            self.refuse(where, str(error))
            return None

    def refuse(self, where: str, sentence: str) -> None:
        self._wrong.append((f"{self._name}.{where}" if where else self._name, self.line, sentence))

    def host(self, value: Value) -> dict[str, Any]:
        known: dict[str, Kind] = {"action": ACTION, "delay": DELAY}
        host: dict[str, Any] = {}
        for word, item in self._section(value, "", (*known, "levels")):
            if word == "levels":
                host["levels"] = self._levels(item)
            else:
                host[word] = self.take(word, lambda item=item, word=word: known[word].read(item))
        if "levels" not in host and isinstance(value, Mapping):
            self.refuse("levels", "is missing. Name at least one agent.")
        return host

    def _section(self, value: Value, where: str, words: tuple[str, ...]) -> Iterator[tuple[str, Value]]:
        if not isinstance(value, Mapping):
            self.refuse(where, f"is no section. Its keys are {', '.join(words)}.")
            return
        for word, item in value.items.items():
            self.line = value.key_lines.get(word, self.line)
            if word in words:
                yield word, item
            else:
                self.refuse(f"{where}.{shown(word)}".strip("."), f"is not known. Use {', '.join(words)}.")

    def _levels(self, value: Value) -> list[Any]:
        if not isinstance(value, Sequence) or not 1 <= len(value.items) <= LEVELS_MAX:
            self.refuse("levels", f"is no list of 1 to {LEVELS_MAX} levels. Write each with a dash: one agent, or a "
                                  f"list of agents that must all succeed.")
            return []
        return [self._level(item, f"levels.{number}") for number, item in enumerate(value.items, 1)]

    def _level(self, value: Value, where: str) -> list[Any]:
        items = value.items if isinstance(value, Sequence) else (value,)
        if not 1 <= len(items) <= DEVICES_MAX:
            self.refuse(where, f"has {len(items)} agents. Use 1 to {DEVICES_MAX}.")
        names = [where] if not isinstance(value, Sequence) else [f"{where}.{at}" for at in range(1, len(items) + 1)]
        return [self._device(item, name) for item, name in zip(items, names, strict=True)]

    def _device(self, value: Value, where: str) -> dict[str, Any]:
        device: dict[str, Any] = {}
        for word, item in self._section(value, where, ("agent", "parameters", "secrets", "time-limit")):
            here = f"{where}.{word}"
            if word == "agent":
                device[word] = self.take(here, lambda item=item: _agent(item))
            elif word == "time-limit":
                device[word] = self.take(here, lambda item=item: TIME_LIMIT.read(item))
            else:
                device[word] = self._table(item, here, secrets=word == "secrets")
        if "agent" not in device and isinstance(value, Mapping):
            self.refuse(f"{where}.agent", "is missing. Name the program, such as fence_ipmilan.")
        self._whole(device, where)
        return device

    def _table(self, value: Value, where: str, *, secrets: bool) -> dict[str, str]:
        if not isinstance(value, Mapping) or len(value.items) > PARAMETERS_MAX:
            self.refuse(where, f"is no section of at most {PARAMETERS_MAX} lines `parameter: "
                               f"{'file' if secrets else 'value'}`.")
            return {}
        found = {}
        for word, item in value.items.items():
            self.line = value.key_lines.get(word, self.line)
            refusal = _refusal(word, secrets=secrets)
            if refusal:
                self.refuse(f"{where}.{shown(word)}", refusal)
                continue
            read = PATH.read if secrets else _value
            found[word] = self.take(f"{where}.{word}", lambda item=item, read=read: read(item))
        return found

    def _whole(self, device: dict[str, Any], where: str) -> None:
        given = {name: text or "" for name, text in device.get("parameters", {}).items()}
        both = sorted(given.keys() & device.get("secrets", {}).keys())
        if both:
            self.refuse(where, f"gives {', '.join(both)} among parameters and secrets. Keep one of them.")
        size = sum(len(f"{name}={text}\n".encode()) for name, text in given.items())
        if size > INPUT_MAX - INPUT_RESERVED:
            self.refuse(where, f"has parameters of {size} bytes, the limit is {INPUT_MAX - INPUT_RESERVED}.")


def _agent(value: Value) -> str:
    text = scalar_text(value, "the name of an agent")
    if not _AGENT.fullmatch(text) or ".." in text.split("/"):
        raise ValueError(f'"{shown(text)}" is no agent: use a name such as fence_ipmilan, or the path of the program.')
    return text


def _value(value: Value) -> str:
    text = scalar_text(value, "a value")
    if not _VALUE.fullmatch(text):
        raise ValueError("cannot stand here: use one line of at most 1024 characters.")
    return text


def _refusal(parameter: str, *, secrets: bool) -> str:
    """Why this parameter cannot be given here, "" when it can."""
    if not _PARAMETER.fullmatch(parameter):
        return "is no parameter: use letters, digits, dashes and underscores, beginning with a letter."
    if parameter in DECIDED:
        return "is decided by the daemon. Set `action` of the host instead."
    if parameter in TALKATIVE:
        return "would put what the agent is given, secrets among it, into the log. Run the agent by hand for that."
    if not secrets and secret(parameter):
        return "is a secret. Put it into a file that only the service may read, and name that file in `secrets`."
    return ""
