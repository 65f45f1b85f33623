"""The lab's power strip, as a fence agent on a host uses it: what it switches off is off."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_world import LabAtWork
from power_strip import ADDRESS, PASSWORD, PowerStrip

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

AGENT = Path(__file__).with_name("fence_lab")
ON, OFF = 0, 2


@pytest.fixture(scope="module")
def strip(lab: LabAtWork) -> Iterator[PowerStrip]:
    found = PowerStrip(lab)
    yield found
    found.close()


def fence(lab: LabAtWork, action: str, host: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    """Run the agent on db2."""
    given = f"ip={ADDRESS}\nplug={host}\npassword={password}\naction={action}\n"
    return lab.order("ssh", "db2", "/usr/sbin/fence_lab", stdin=given)


def test_agent_on_one_host_cuts_the_power_of_another(lab: LabAtWork, strip: PowerStrip) -> None:
    lab.on("db2", "cat > /usr/sbin/fence_lab && chmod 755 /usr/sbin/fence_lab", stdin=AGENT.read_text())
    lab.wait_until(lambda: fence(lab, "monitor", "db1").returncode == 0, "the strip answers", 20)
    assert fence(lab, "status", "db1").returncode == ON
    refused = fence(lab, "off", "db1", "a guess")
    assert refused.returncode == 1 and "wrong password" in refused.stderr and lab.status()["db1"] == "on"
    assert fence(lab, "off", "db1").returncode == 0
    assert lab.status()["db1"] == "off" and fence(lab, "status", "db1").returncode == OFF
    assert fence(lab, "on", "db1").returncode == 0
    lab.wait_until(lambda: lab.order("ssh", "db1", "true").returncode == 0, "db1 is up again")
    assert strip.orders == [("off", "db1"), ("on", "db1")]
