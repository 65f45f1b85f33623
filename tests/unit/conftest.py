"""Nodes for the tests of the plugins, closed when the test ends."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
import trustme
from ansible.module_utils.testing import patch_module_args
from scripted_node import ScriptedNode


@pytest.fixture
def node():
    """Makes scripted nodes."""
    made = []

    def make(script=None, **options):
        made.append(ScriptedNode(script, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture
def run(capsys):
    """Runs a module's main as Ansible does, and gives what it printed."""

    def run_module(module, **arguments):
        with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
            module.main()
        result = json.loads(capsys.readouterr().out)
        assert bool(result.get("failed")) == bool(ended.value.code), "exit code and result must agree"
        return result

    return run_module
