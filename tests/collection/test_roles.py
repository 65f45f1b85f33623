"""The roles keep to the plan: same files, every variable described, every task named, no shell."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
TASK_FILES = sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/tasks/*.yml")])
PLAYBOOKS = sorted(ROOT.glob("playbooks/*.yml"))
SAME_FILES = {"README.md", "defaults/main.yml", "handlers/main.yml", "meta/argument_specs.yml", "meta/main.yml",
              "tasks/configure.yml", "tasks/install.yml", "tasks/main.yml", "tasks/preflight.yml",
              "tasks/service.yml", "vars/main.yml"}
TASK_FILE_LINES_MAX = 110
SHELLS = {"ansible.builtin.shell", "shell"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def tasks_of(content: Any) -> list[dict[str, Any]]:
    """All tasks of a task file or of the plays of a playbook."""
    found = []
    for item in content or []:
        if "hosts" in item:
            found += tasks_of(item.get("tasks"))
        elif "import_playbook" not in item:
            found.append(item)
            found += tasks_of(item.get("block"))
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_role_has_the_same_files(role: Path) -> None:
    files = {str(path.relative_to(role)) for path in role.rglob("*") if path.is_file()}
    assert files >= SAME_FILES
    folders = {path.split("/")[0] for path in files}
    assert folders - {"files"} == {"README.md", "defaults", "handlers", "meta", "tasks", "templates", "vars"}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_is_described_and_shown(role: Path) -> None:
    defaults = load(role / "defaults/main.yml")
    specs = load(role / "meta/argument_specs.yml")["argument_specs"]
    readme = (role / "README.md").read_text()
    shown = re.findall(r"^\| `(\w+)` \|", readme, re.M)
    assert set(specs["main"]["options"]) == set(defaults) == set(shown)
    assert specs["preflight"]["options"] == specs["main"]["options"]
    assert all(name.startswith(role.name + "_") for name in defaults)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_is_used(role: Path) -> None:
    used = "".join(path.read_text() for folder in ("tasks", "templates", "vars") for path in (role / folder).iterdir())
    used += (role / "defaults/main.yml").read_text()
    for name in load(role / "defaults/main.yml"):
        assert len(re.findall(rf"\b{name}\b", used)) > 1, f"{name} is offered and never used"


@pytest.mark.parametrize("path", TASK_FILES + PLAYBOOKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tasks_are_sentences_and_no_shell(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= (TASK_FILE_LINES_MAX if path in TASK_FILES else 280)
    for task in tasks_of(load(path)):
        name = task["name"]
        assert name[0].isupper() and " " in name, name
        assert not SHELLS & set(task), f"{name} uses a shell"
        assert "ignore_errors" not in task, name
        modules = [key for key in task if "." in key]
        assert len(modules) == 1 or "block" in task, f"{name} names no module in full"
        if "ansible.builtin.command" in task:
            assert "changed_when" in task, name


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_roles_never_sleep(path: Path) -> None:
    text = path.read_text()
    assert "wait_for:" not in text and "pause:" not in text and "until:" not in text


def test_every_ordered_play_stops_at_the_first_failure() -> None:
    for path in PLAYBOOKS:
        for play in load(path):
            if play.get("hosts", "localhost") != "localhost":
                assert play["any_errors_fatal"] is True, f"{path.name}: {play['name']}"


def test_every_key_of_config_yaml_has_its_variable() -> None:
    from qluster.config.keys import KEYS

    text = (ROOT / "roles/node/templates/config.yaml.j2").read_text()
    defaults = load(ROOT / "roles/node/defaults/main.yml")
    sections = {"database": load(ROOT / "roles/database/vars/main.yml")["database_section"],
                "backup": load(ROOT / "roles/database/vars/main.yml")["database_backup_section"],
                "pool": load(ROOT / "roles/pooler/vars/main.yml")["pooler_section"]}
    quorum = load(ROOT / "roles/node/vars/main.yml")["__node_quorum_defaults"]
    for key in KEYS:
        section, _, rest = key.path.partition(".")
        if section == "quorum":
            assert str(quorum[rest]).lower() == key.default, "what is taken away goes back to this"
            continue
        if section in sections:
            assert rest in sections[section], key.path
            continue
        if key.path == "fencing.hosts":
            assert "hostvars[host]['node_fence']" in text and "node_fence" in defaults, "each host says it of itself"
            continue
        assert re.search(rf"^ *{key.path.rpartition('.')[2]}: ", text, re.M), key.path
        if not key.path.endswith("-file"):
            variable = "node_" + key.path.replace(".", "_").replace("-", "_")
            assert variable in defaults, variable


def test_collection_paths_of_the_checkout_are_one() -> None:
    link = ROOT / ".ansible/collections/ansible_collections/qhb/qluster"
    assert link.resolve() == ROOT
