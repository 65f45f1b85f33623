"""qluster_info and qluster_status as a playbook sees them: group defaults, check mode, key names, no secrets."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_node import ScriptedNode, map_seen_by

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 120
TOKEN = "a-token-nobody-may-see"

PLAYBOOK = """
- name: Judge a cluster
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/qhb.qluster.qluster:
      nodes: ["{{ well }}", "{{ gone }}"]
      token_file: "{{ token_file }}"
      request_timeout: 2
  tasks:
    - name: Read
      qhb.qluster.qluster_info:
      register: seen

    - name: Use what was read
      ansible.builtin.assert:
        that:
          - seen.primary.ip == '10.0.0.1'
          - seen.unreached | length == 1
          - seen.unreached[0].url == gone
          - seen is not changed

    - name: Be content
      qhb.qluster.qluster_status:
        expect: {reachable: 1, leader: known, primary: "{{ seen.leader.node }}", voters: 3, replicas_streaming: 2}

    - name: Judge and go on
      block:
        - name: Be not content
          qhb.qluster.qluster_status:
            expect: {reachable: all}
            wait: {timeout: 0.3, delay: 0.1}
      rescue:
        - name: Use what was found
          ansible.builtin.assert:
            that:
              - ansible_failed_result.unmet[0].expectation == 'reachable'
              - ansible_failed_result.unmet[0].says == [gone]
              - ansible_failed_result.leader.node == 1
"""


@pytest.fixture
def addresses():
    well, gone = ScriptedNode().lead(map_seen_by(1)), ScriptedNode()
    gone.close()
    yield {"well": well.url, "gone": gone.url}
    well.close()


@pytest.mark.parametrize("mode", [[], ["--check", "--diff"]], ids=["run", "check"])
def test_playbook_reads_judges_and_is_never_unreachable(addresses, tmp_path, mode):
    (tmp_path / "play.yml").write_text(PLAYBOOK, encoding="utf-8")
    (tmp_path / "token").write_text(TOKEN + "\n", encoding="ascii")
    token_file = str(tmp_path / "token")
    variables = {**addresses, "token_file": token_file, "ansible_python_interpreter": sys.executable}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-vvv", "-i", "localhost,", "-c", "local", *mode]
    for name, value in variables.items():
        command += ["-e", f"{name}={value}"]
    ended = subprocess.run(
        [*command, str(tmp_path / "play.yml")], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=SECONDS_MAX, stdin=subprocess.DEVNULL,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output[-4000:]
    assert "changed=0    unreachable=0    failed=0    skipped=0    rescued=1" in output
    assert TOKEN not in output
