"""The reference page of config.yaml, as text, from the tables of this package.

It must not know where the page is kept.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

from .key import Change, Key
from .keys import KEYS
from .kinds import Items, Networks, Table
from .rules import RULES

EXAMPLE = """\
ip: 192.0.2.11
udp:
  socket:
    group: 239.19.76.1:7400
    interface: eth0
cluster:
  name: main
  founder: 192.0.2.11
  node-timeout: 5s
  heartbeat-interval: 1s
  pre-voting-timeout: 2s
  leader-voting-timeout: 2s
database:
  bin-dir: /usr/lib/postgresql/15/bin
  client-networks: [192.0.2.0/24]
  parameters:
    max_connections: 200
"""

_HEAD = """\
# config.yaml

Made from the tables in `node/qluster/config/`; do not edit.

The file configures one node.
`qluster check-config FILE` says everything that is wrong with it, each fault with its line.
Unknown keys are refused.
A key without a default must be given, in a section that is there; the sections `database` and `pool` are
there only on hosts with a database or a pool, the section `backup` only where base backups are kept, the section
`device` only on nodes that ask an arbiter, `device.heuristics` only where these have checks of their own, the section
`fencing` only where fence agents are used, the section `tasks` only on hosts that run tasks.

A duration is a number with a unit: `500ms`, `30s`, `1m`, `2h`; `1m30s` is allowed, a bare number is not.
A number consists of digits only.
A word that YAML takes for something else (`on`, `no`, `null`) is written in quotes.

"Same everywhere" says whether the value must be the same on all nodes, and how it changes:

| word | meaning |
|---|---|
"""

_CHANGES = {
    Change.HOST: ("-", "belongs to this host"),
    Change.CLUSTER: ("fixed", "the same on all nodes, from the founding on; a list of peers may change, host by host"),
    Change.LIVE: ("live", "the same on all nodes; `POST /config` changes it at once"),
}

_TITLES = {
    "": "The node", "udp": "Messages between nodes", "cluster": "The cluster", "quorum": "Votes",
    "api": "The REST interface",
    "database": "The database", "backup": "Backups", "pool": "The connection pool",
    "device": "The arbiter",
    "fencing": "Fencing", "tasks": "Tasks",
}


def reference() -> str:
    """The whole page."""
    return "\n".join([*_page(), ""])


def _page() -> Iterator[str]:
    yield _HEAD + "\n".join(f"| {word} | {meaning} |" for word, meaning in _CHANGES.values())
    for section, title in _TITLES.items():
        yield f"\n## {title}\n"
        yield "| key | what it may be | default | same everywhere | meaning |\n|---|---|---|---|---|"
        for key in KEYS:
            if key.path.partition(".")[0] == section or (not section and "." not in key.path):
                yield _row(key)
    yield "\n## Rules between keys\n"
    for rule in RULES:
        yield f"- {' '.join((rule.__doc__ or '').split())}"
    yield f"\n## Example\n\n```yaml\n{EXAMPLE}```"


def _row(key: Key) -> str:
    cells = (f"`{key.path}`", key.kind.label, _default(key), _CHANGES[key.change][0], key.meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(key: Key) -> str:
    if key.optional:
        return "none"
    if key.default is None:
        return "must be given"
    if isinstance(key.kind, Table) and key.kind.defaults:
        return "their usual names"
    if isinstance(key.kind, Networks | Items | Table) or not key.default:
        return "empty"
    return f"`{key.default}`"
