"""config.yaml and changes of settings: a configuration, or every fault with a sentence."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from fuzz.source import Source
from qluster.config import Config, ConfigErrors, changeable, differences, parse, shared, shared_digest, with_changes
from qluster.config.keys import KEYS
from qluster.tuning import in_force
from sim.world import configuration

BASE = """\
ip: 192.0.2.11
udp:
  socket:
    group: 239.19.76.1:7400
    interface: eth0
"""
VALUES = ("0", "1", "-1", "9s", "1h", "500ms", "1e9", "true", "on", "null", "~", "[]", "{}", "*a", "&a x", "!!int 3",
          "10.0.0.1", "239.1.1.1:7400", "[10.0.0.1:7400, 10.0.0.2:7400]", "/etc/x", '"\\0"', "9" * 400, "0x10", "1_0",
          "12:30", "|", "é", "{a: 1}", "[[[[1]]]]")  # fmt: skip
FILE = configuration(1, pool=False)


def run(content: bytes) -> None:
    """The first byte says whether it is a whole text, a good one with other values, or a change."""
    source = Source(content)
    match source.byte() % 3:
        case 0:
            _parse(source.rest().decode("utf-8", "replace"))
        case 1:
            _parse(_changed_text(source))
        case _:
            _change(source)


def _changed_text(source: Source) -> str:
    lines = [BASE.replace("eth0", _value(source))]
    for _ in range(source.byte() % 5):
        key = source.one_of([each.path for each in KEYS][:256])
        *sections, word = key.split(".")
        indent = ""
        for section in sections:
            lines.append(f"{indent}{section}:\n")
            indent += "  "
        lines.append(f"{indent}{word}: {_value(source)}\n")
    return "".join(lines) + source.text()


def _value(source: Source) -> str:
    return source.one_of(VALUES) if source.byte() & 3 else source.text()


def _parse(text: str) -> None:
    try:
        config = parse(text, "config.yaml")
    except ConfigErrors as errors:
        assert errors.faults and all(fault.message and fault.line >= 0 for fault in errors.faults)
        assert all("\n" not in line and line.startswith("config.yaml") for line in errors.lines())
        return
    _sound(config)


def _sound(config: Config) -> None:
    values = shared(config)
    assert not differences(values, shared(config))
    assert len(shared_digest(config)) == 16
    again = with_changes(config, {key: value for key, value in values.items() if key in changeable() and value})
    assert shared(again) == values, "every value has a text that means the same"


def _change(source: Source) -> None:
    keys = (*changeable(), "ip", "cluster.name", "nonsense", "")
    changes = {source.one_of(keys): _value(source) for _ in range(1 + source.byte() % 4)}
    try:
        _sound(with_changes(FILE, changes))
    except ConfigErrors as errors:
        assert errors.faults
    config, fault = in_force(FILE, changes)
    _sound(config)
    assert fault or all(shared(config).get(key) for key in changes if key in changeable())
