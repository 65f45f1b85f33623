"""A fence agent for tests: it speaks as the programs of fence-agents do, and behaves as badly as it is told.

Parameters come on standard input, one ``name=value`` a line. What is "plugged in" is a file: ``on`` or ``off``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
import time
from pathlib import Path

METADATA = """<?xml version="1.0" ?>
<resource-agent name="fence_test" shortdesc="for tests">
<parameters>
  <parameter name="action" required="1"/>
  <parameter name="state_file" required="1"/>
  <parameter name="password" required="0"/>
  <parameter name="temper" required="0"/>
  <parameter name="journal" required="0"/>
</parameters>
<actions>
{actions}
</actions>
</resource-agent>
"""
ACTIONS = ("on", "off", "reboot", "status", "monitor", "metadata")


def main() -> int:
    """Do what was asked; the exit code."""
    given = dict(line.rstrip("\n").split("=", 1) for line in sys.stdin if "=" in line)
    kind = Path(sys.argv[0]).name
    action = given.get("action", "reboot")
    if action == "metadata":
        names = [name for name in ACTIONS if not (kind == "fence_mute" and name == "status")]
        lines = [f'<action name="{name}"{_automatic(kind, name)}/>' for name in names]
        print(METADATA.format(actions="\n".join(lines)) if kind != "fence_none" else "I am no agent")
        return 0
    state, temper = Path(given["state_file"]), given.get("temper", "")
    if "journal" in given:
        with open(given["journal"], "a", encoding="ascii") as journal:
            journal.write(f"{kind} {action} arguments={sys.argv[1:]}\n")
    if temper == "hang" and action != "monitor":
        time.sleep(60)
    if temper == "fail" or (temper == "fail-off" and action == "off"):
        print(f"cannot log in with the password {given.get('password')}", file=sys.stderr)
        return 1
    if action in ("on", "off") and temper == "ask":
        return _ask(state, action)
    if action in ("on", "off") and temper != "lie":
        state.write_text(action, encoding="ascii")
    if action == "status":
        return 2 if state.read_text(encoding="ascii") == "off" else 0
    return 0


def _ask(state: Path, action: str) -> int:
    """Somebody else switches: the wish is a file beside the state."""
    begun = state.with_suffix(".begun")
    begun.write_text(action, encoding="ascii")
    begun.replace(state.with_suffix(".wanted"))  # never seen half written
    for _ in range(1000):
        if state.read_text(encoding="ascii") == action:
            return 0
        time.sleep(0.02)
    return 1


def _automatic(kind: str, name: str) -> str:
    return ' automatic="1"' if kind == "fence_fabric" and name == "on" else ""


if __name__ == "__main__":
    sys.exit(main())
