"""A primary that is cut off loses its power before another one begins: by an agent that really cuts it.

One story, told in its order.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_cluster import ADDRESSES, Cluster, packed
from lab_world import LabAtWork
from power_strip import ADDRESS, PASSWORD, PowerStrip
from test_cluster import RECOVERY_TIMEOUT, Writer

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="takes minutes; QLUSTER_FULL_TESTS=1 runs it"),
]

AGENT = Path(__file__).with_name("fence_lab")
QLUSTER = "su -s /bin/sh qhb -c '/usr/local/bin/qluster {}'"
HOW = """
node_fence:
  levels:
    - {{agent: fence_lab, parameters: {{ip: {address}, plug: {host}}}, secrets: {{password: strip}}, time-limit: 20s}}
node_fencing_when_failed: wait
node_fencing_monitor_interval: 10s
"""


@pytest.fixture(scope="module")
def strip(lab: LabAtWork) -> Iterator[PowerStrip]:
    found = PowerStrip(lab)
    yield found
    found.close()


@pytest.fixture(scope="module")
def cluster(lab: LabAtWork, strip: PowerStrip) -> Cluster:
    """A cluster whose hosts hang on the power strip."""
    packed(lab)
    for host in ADDRESSES:
        lab.on(host, "cat > /usr/sbin/fence_lab && chmod 755 /usr/sbin/fence_lab", stdin=AGENT.read_text())
    (lab.inventory / "host_vars").mkdir()
    for host in ADDRESSES:
        (lab.inventory / "host_vars" / f"{host}.yml").write_text(HOW.format(address=ADDRESS, host=host))
    secrets = lab.inventory / ".secrets/fencing"
    secrets.mkdir(parents=True, mode=0o700)
    (secrets / "strip").write_text(f"{PASSWORD}\n")
    found = Cluster(lab)
    found.deploy()
    found.rows("create table ledger (number bigint primary key)")
    return found


def fencing(cluster: Cluster, struck: str) -> dict[str, object]:
    """The last fencing of a host, as another one shows it."""
    other = next(host for host in ADDRESSES if host != struck)
    status = json.loads(cluster.lab.on(other, QLUSTER.format("status --json")))
    node = next(node for node in status["nodes"] if node["ip"] == ADDRESSES[struck])
    return dict(node["fencing"]["last"] or {})


def test_agents_reach_the_strip_from_every_host(cluster: Cluster, strip: PowerStrip) -> None:
    for host in ADDRESSES:
        said = cluster.lab.on(host, QLUSTER.format("fence --check"))
        assert said.count("  ok  level 1: fence_lab on") == 2, said
        assert PASSWORD not in cluster.lab.on(host, "cat /etc/qluster/config.yaml")
        assert cluster.lab.on(host, "stat -c %a:%U /etc/qluster/fence-strip.secret") == "600:qhb"
    assert strip.orders == [], "looking switches nothing"


@pytest.mark.parametrize("strike", ["cut", "pause"])
def test_primary_that_gives_no_word_loses_its_power_and_writes_go_on(
    cluster: Cluster, strip: PowerStrip, strike: str
) -> None:
    struck = cluster.leader()
    strip.orders.clear()
    writer = Writer(cluster, cluster.pool, first=cluster.fresh())
    try:
        writer.read_until(time.monotonic() + 1)
        cluster.lab.say(strike, struck)
        moment = time.monotonic()
        writer.read_until(moment)
        assert strip.orders[:1] == [("off", struck)], "its power was cut before another one served"
        writer.read_until(max(writer.acknowledged.values()) + 1)
    finally:
        writer.stop()
        cluster.lab.say("heal", struck)
    later = [when for when in writer.acknowledged.values() if when > moment]
    pause = min(later) - max(when for when in writer.acknowledged.values() if when <= moment)
    print(f"{strike}: no write was acknowledged for {pause:.2f} s")
    last = fencing(cluster, struck)
    assert (last["success"], last["shots"], last["asked"]) == (True, 1, False), last
    cluster.lab.wait_until(lambda: ("on", struck) in strip.orders, "it is switched on again")
    after = {number for number, when in writer.acknowledged.items() if when > moment}
    cluster.lab.wait_until(
        lambda: cluster.holds(struck, after), f"{struck} is a replica again by itself", RECOVERY_TIMEOUT
    )
    for host in ADDRESSES:
        assert PASSWORD not in cluster.lab.on(host, "journalctl -u qluster"), "no secret in the log"


def test_operator_has_a_replica_fenced(cluster: Cluster, strip: PowerStrip) -> None:
    leader = cluster.leader()
    replica = next(host for host in ADDRESSES if host != leader)
    status = json.loads(cluster.lab.on(leader, QLUSTER.format("status --json")))
    number = next(node["node"] for node in status["nodes"] if node["ip"] == ADDRESSES[replica])
    strip.orders.clear()
    wrong = cluster.lab.order("ssh", leader, QLUSTER.format(f"fence {ADDRESSES[leader]} --node {number}"))
    assert wrong.returncode != 0 and strip.orders == [], "number and address do not belong together"
    said = cluster.lab.on(leader, QLUSTER.format(f"fence {ADDRESSES[replica]} --node {number}"))
    assert "was fenced" in said and strip.orders[0] == ("off", replica)
    cluster.lab.wait_until(lambda: cluster.holds(replica, set()), f"{replica} is back", RECOVERY_TIMEOUT)
