"""The collection as an operator installs it: packed, with nothing but the four folders that Ansible may use."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from collection.playing import BIN, ROOT, Stage

CODE = {"meta", "plugins", "roles", "playbooks", "MANIFEST.json", "FILES.json"}


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """A folder with an ansible.cfg that knows nothing but the installed collection."""
    folder = Path(tempfile.mkdtemp(prefix="qluster-installed-"))
    try:
        python = f"3.{sys.version_info.minor}"
        command = [sys.executable, ROOT / "packaging/build_collection.py", "--python", python, "--output", folder]
        built = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        install = [BIN / "ansible-galaxy", "collection", "install", built["collection"], "-p", folder / "c", "--force"]
        (folder / "ansible.cfg").write_text("[defaults]\ncollections_path = c\ninject_facts_as_vars = false\n")
        environment = {**os.environ, "ANSIBLE_CONFIG": str(folder / "ansible.cfg")}
        done = subprocess.run(install, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        collection = folder / "c/ansible_collections/qhb/qluster"
        for path in collection.iterdir():
            if path.name not in CODE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / ".venv").symlink_to(ROOT / ".venv")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(ROOT / "roles/node/files", ignore_errors=True)


def test_deploy_and_destroy_need_only_the_four_folders(installed: Path) -> None:
    stage = Stage(installed)
    try:
        played = stage.play("qhb.qluster.deploy", checkout=installed)
        assert played.code == 0 and "The cluster local is whole" in played.output, played.output[-6000:]
        assert "item=Python" not in re.sub(r"skipping: .*", "", played.output)
    finally:
        gone = stage.play("qhb.qluster.destroy", "-e", "qluster_destroy_confirm=local", checkout=installed)
    assert gone.code == 0 and not stage.prefix.exists(), gone.output[-3000:]


def test_host_whose_python_was_not_packed_is_refused_with_the_remedy(installed: Path) -> None:
    manifest = installed / "c/ansible_collections/qhb/qluster/roles/node/files/release.json"
    text = manifest.read_text()
    folder = Path(tempfile.mkdtemp(prefix="qluster-unpacked-"))
    try:
        manifest.write_text(json.dumps({**json.loads(text), "archives": {"3.99-x86_64": {}}}))
        played = Stage(folder).play("qhb.qluster.deploy", checkout=installed)
        assert played.code == 2 and "brings the daemon for 3.99-x86_64 only" in played.text(), played.output[-3000:]
    finally:
        manifest.write_text(text)
        shutil.rmtree(folder)
