"""README and CONTRIBUTING name only what exists: commands, files, ports, expectations."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.qhb.qluster.plugins.modules.qluster_status import EXPECT, WAIT

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md")
MADE = (".venv", ".local", ".cache", "inventories/mine", "inventories/lab", "CHANGELOG.rst")
"""What commands make, or an operator writes."""
NAMED = re.compile(r"[`(]([A-Za-z_.][\w.-]*(?:/[\w.-]+)*\.(?:yml|py|md|rst)|[a-z_.]+(?:/[\w.-]+)+/?)")
"""A file or folder in a code span or a link."""


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_every_make_command_exists(page: str) -> None:
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text(page), re.MULTILINE))
    assert named, "the page names no command at all"
    assert named <= targets()


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_folder_exists(page: str) -> None:
    top = {path.name for path in ROOT.iterdir()}
    named = set(NAMED.findall(text(page)))
    inside = {name for name in named if name.split("/")[0] in top and not name.startswith(MADE)}
    missing = {name for name in inside if not (ROOT / name).exists()}
    assert inside and not missing


def test_playbooks_of_the_table_exist() -> None:
    named = re.findall(r"^\| `((?:playbooks/)?[a-z_]+\.yml)", text("README.md"), re.MULTILINE)
    assert len(named) > 3
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_expectations_of_the_example_exist() -> None:
    example = re.search(r"```yaml\n(- name: Wait.*?)```", text("README.md"), re.DOTALL)
    assert example
    arguments = yaml.safe_load(example[1])[0]["qhb.qluster.qluster_status"]
    assert set(arguments["expect"]) <= set(EXPECT)
    assert set(arguments["wait"]) <= set(WAIT)


def test_ports_are_those_of_the_roles() -> None:
    tables = text("README.md")
    roles = {name: yaml.safe_load(text(f"roles/{name}/defaults/main.yml")) for name in ("database", "node", "pooler")}
    group, _, udp = roles["node"]["node_udp_socket_group"].partition(":")
    for port in (roles["database"]["database_port"], roles["pooler"]["pooler_port"], roles["node"]["node_api_port"]):
        assert f"| {port}/tcp |" in tables
    assert f"| {udp}/udp |" in tables and group in tables


@pytest.mark.parametrize("page", PAGES)
def test_prose_has_one_sentence_a_line(page: str) -> None:
    prose = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
    lines = [line for line in prose.splitlines() if line and not line.startswith(("|", "#", " "))]
    long = [line for line in lines if re.search(r"[a-z)`]\. [A-Z]", line)]
    assert long == []
