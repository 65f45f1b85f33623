"""Two database hosts and an arbiter's: either database host may lose its power or its network, and writes go on.

One story, told in its order; the lab's third database host stays bare.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable

import pytest
from lab_cluster import ADDRESSES, Cluster, packed
from lab_world import LabAtWork
from test_cluster import RECOVERY_TIMEOUT, Writer

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="takes minutes; QLUSTER_FULL_TESTS=1 runs it"),
]

ARBITER = "arbiter1"
PAIR = ["db1", "db2"]
SPARE = re.compile(r"^ +db3:\n +ansible_host: .*\n", re.M)
STATUS = "su -s /bin/sh qhb -c '/usr/local/bin/qluster status --json'"
QUORUM = "su -s /bin/sh qhb -c '/usr/local/bin/qluster quorum'"


class Pair(Cluster):
    """The cluster of two."""

    def counts(self) -> bool:
        """Whether both nodes count on the arbiter, and each transaction waits for the other database."""
        shown = []
        for host in PAIR:
            done = self.lab.order("ssh", host, STATUS)
            if done.returncode != 0:
                return False
            shown.append(json.loads(done.stdout))
        return all((one["own"]["device"] or {}).get("counts") and one["cluster"]["quorate"] for one in shown)

    def whole(self) -> None:
        """Wait until either may be lost."""
        self.lab.wait_until(self.counts, "both nodes count on the arbiter", RECOVERY_TIMEOUT)
        probe = {int(str(number)) for number in self.rows("select number from ledger order by 1 desc limit 1")}
        for host in PAIR:
            self.lab.wait_until(lambda host=host: self.holds(host, probe), f"{host} follows", RECOVERY_TIMEOUT)


@pytest.fixture(scope="module")
def pair(lab: LabAtWork) -> Pair:
    packed(lab)
    hosts = lab.inventory / "hosts.yml"
    text, removed = SPARE.subn("", hosts.read_text())
    assert removed == 1, "db3 is taken out of the inventory"
    hosts.write_text(text)
    (lab.inventory / "group_vars/all/pair.yml").write_text(
        "node_cluster_synchronous: quorum\nnode_quorum: {provider: votequorum}\n"
    )
    found = Pair(lab)
    found.deploy()
    found.rows("create table ledger (number bigint primary key)")
    found.rows("insert into ledger values (0)")
    return found


def test_arbiter_counts_once_the_cluster_is_deployed(pair: Pair) -> None:
    pair.whole()
    shown = pair.lab.on(pair.leader(), QUORUM)
    assert "Expected votes:   3\n" in shown and "Total votes:      3\n" in shown and "Quorum:           2" in shown
    assert shown.count("A,V,NMW") == 2 and "         0          1            Qdevice" in shown
    listed = pair.lab.on(ARBITER, "qluster-qnetd-tool -lv")
    one, other = re.findall(r"Membership node list:\t(.+)", listed)
    assert one == other and one.count(",") == 1 and listed.count("(client certificate verified)") == 2


def written_through(pair: Pair, strike: Callable[[], object], undo: Callable[[], object]) -> tuple[float, set[int]]:
    """Seconds without an acknowledged write, and what was acknowledged: all of it is there."""
    writer = Writer(pair, pair.pool, first=pair.fresh())
    try:
        writer.read_until(time.monotonic() + 2)
        strike()
        moment = time.monotonic()
        writer.read_until(moment)
        writer.read_until(max(writer.acknowledged.values()) + 2)
    finally:
        writer.stop()
    acknowledged = set(writer.acknowledged)
    found = {int(str(number)) for number in pair.rows("select number from ledger")}
    assert acknowledged <= found, f"acknowledged, and lost: {sorted(acknowledged - found)[:10]}"
    undo()
    before = max(when for when in writer.acknowledged.values() if when <= moment)
    return min(when for when in writer.acknowledged.values() if when > moment) - before, acknowledged


def go_through_a_loss(pair: Pair, strike: str, undo: str, *, of_primary: bool) -> None:
    """One of the two is lost and comes back: writes go on, nothing acknowledged is missing, both are whole again."""
    pair.whole()
    leader = pair.leader()
    struck = leader if of_primary else next(host for host in PAIR if host != leader)
    other = next(host for host in PAIR if host != struck)
    pause, written = written_through(pair, lambda: pair.lab.say(strike, struck), lambda: None)
    print(f"{strike} of the {'primary' if of_primary else 'replica'}: no write was acknowledged for {pause:.2f} s")
    assert pair.leader() == other
    alone = pair.lab.on(other, QUORUM)
    assert "Quorate:          Yes" in alone and "Total votes:      2\n" in alone, alone
    pair.lab.say(undo, struck)
    pair.lab.wait_until(lambda: pair.holds(struck, written), f"{struck} is a replica again", RECOVERY_TIMEOUT)


@pytest.mark.parametrize(("strike", "undo"), [("kill", "start"), ("cut", "heal")])
@pytest.mark.parametrize("of_primary", [True, False], ids=["primary", "replica"])
def test_writes_go_on_when_either_is_lost(pair: Pair, strike: str, undo: str, of_primary: bool) -> None:
    go_through_a_loss(pair, strike, undo, of_primary=of_primary)


def test_writes_go_on_without_the_arbiter_and_it_counts_again_when_it_is_back(pair: Pair) -> None:
    pair.whole()
    leader = pair.leader()
    pause, _ = written_through(
        pair, lambda: pair.lab.say("kill", ARBITER), lambda: pair.lab.say("start", ARBITER)
    )
    print(f"death of the arbiter: no write was acknowledged for {pause:.2f} s")
    assert pair.leader() == leader
    pair.whole()
    done = pair.play("playbooks/verify.yml")
    assert done.returncode == 0, done.stdout[-4000:]
    assert set(ADDRESSES) - set(PAIR) == {"db3"}
