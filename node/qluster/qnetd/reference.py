"""The reference page of the arbiter's daemon, as text, from its own tables and help.

It must not know where the page is kept.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

from qluster.config.key import Key
from qluster.qnetd.config import KEYS, SECTIONS
from qluster.qnetd.places import CONFIG
from qluster.qnetd.words import daemon_parser, tool_parser

EXAMPLE = """\
tls:
  mode: required
  certificate-file: /etc/qluster-qnetd/server.crt
  key-file: /etc/qluster-qnetd/server.key
  ca-file: /etc/qluster-qnetd/ca.crt
limits:
  clients: 200
"""

_HEAD = f"""\
# qnetd.yaml, qluster-qnetd, qluster-qnetd-tool

Made from the tables in `node/qluster/qnetd/` and the programs' own help; do not edit.
[The arbiter's page](../arbiter.md) says how it is run.

The file is `{CONFIG}`.
Every key has a default, unknown ones are refused, and `qluster-qnetd --check-config` says all that is wrong at once.
A duration is a number with a unit: `500ms`, `30s`, `2m`.
"""

_TITLES = {"": "The daemon", "tls": "TLS", "limits": "Limits", "peers": "Heartbeats"}
assert tuple(_TITLES) == ("", *SECTIONS)


def reference() -> str:
    """The whole page."""
    return "\n".join([*_page(), ""])


def _page() -> Iterator[str]:
    yield _HEAD.rstrip()
    for section, title in _TITLES.items():
        yield f"\n## {title}\n\n| key | what it may be | default | meaning |\n|---|---|---|---|"
        for key in KEYS:
            if key.path.rpartition(".")[0] == section:
                yield _row(key)
    yield f"\n## Example\n\n```yaml\n{EXAMPLE}```"
    for parser in (daemon_parser(), tool_parser()):
        yield f"\n## {parser.prog}\n\n```text\n{parser.format_help().rstrip()}\n```"


def _row(key: Key) -> str:
    default = "none" if key.default is None else f"`{key.default}`"
    return f"| `{key.path}` | {key.kind.label} | {default} | {key.meaning} |"
