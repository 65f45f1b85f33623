"""What a fence agent says of itself, and whether it can be used as it is configured.

It must not run one: the text of its metadata comes as an argument.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from difflib import get_close_matches

from .structure import FenceDevice

METADATA_SIZE_MAX = 256 * 1024
"""The longest of the package fence-agents has a tenth of it."""


class NoAgent(ValueError):
    """The text is no metadata of a fence agent; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an agent says of itself."""

    actions: frozenset[str]
    parameters: frozenset[str]
    required: frozenset[str]
    fabric: bool
    """It cuts a host from network or storage instead of its power."""


def described(text: str) -> Abilities:
    """What stands in an agent's metadata; raises NoAgent when it is none."""
    if len(text) > METADATA_SIZE_MAX:
        raise NoAgent(f"its metadata is longer than {METADATA_SIZE_MAX} characters")
    start = text.find("<")
    try:
        root = ElementTree.fromstring(text[max(start, 0):])
    except ElementTree.ParseError as error:
        raise NoAgent(f"its metadata is no XML ({error}). Is it a fence agent?") from None
    actions = {each.get("name", ""): each for each in root.iter("action")}
    parameters = {each.get("name", ""): each for each in root.iter("parameter")}
    if root.tag != "resource-agent" or not actions:
        raise NoAgent("its metadata names no actions. Is it a fence agent?")
    on = actions.get("on")
    return Abilities(
        frozenset(actions), frozenset(parameters),
        frozenset(name for name, each in parameters.items() if each.get("required") == "1"),
        on is not None and on.get("automatic") == "1",
    )  # fmt: skip


def spelled(name: str) -> str:
    """A parameter's name as it is compared: agents take dashes for underscores."""
    return name.replace("-", "_")


def unusable(device: FenceDevice, abilities: Abilities) -> str:
    """Why an agent cannot be used as it is configured, "" when it can."""
    if abilities.fabric or not {"on", "off"} <= abilities.actions:
        return "it cuts a host from network or storage instead of switching it off and on: what runs there would go on"
    known = {spelled(name) for name in abilities.parameters}
    unknown = sorted(name for name in (*device.parameters, *device.secrets) if spelled(name) not in known)
    if unknown:
        near = get_close_matches(spelled(unknown[0]), sorted(abilities.parameters), n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"`{device.agent} -o metadata` lists what it knows"
        return f"it does not know {', '.join(unknown)}. {hint}"
    return ""
