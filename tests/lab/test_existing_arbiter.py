"""Two database hosts that ask a corosync-qnetd which was there before them, as its distribution packages it.

Its certificates come by the path that the collection offers. One story, told in its order.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lab_cluster import packed
from lab_world import LabAtWork
from test_two_nodes import ARBITER, SPARE, STATUS, Pair, go_through_a_loss, written_through

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="takes minutes; QLUSTER_FULL_TESTS=1 runs it"),
    pytest.mark.skipif(shutil.which("corosync-qdevice-net-certutil") is None, reason="no package corosync-qdevice"),
]

ARBITER_IP = "10.77.0.31"
ARBITERS = re.compile(r"^    qluster_arbiters:\n      hosts:\n        arbiter1:\n.*\n", re.M)
ANSIBLE = Path(sys.executable).with_name("ansible")
GIVEN = """
node_cluster_synchronous: quorum
node_quorum: {{provider: votequorum}}
node_device_host: {arbiter}
# The arbiter counts a host that fell silent for 1.2 times as long.
node_device_timeout: 1250ms
node_device_sync_timeout: 3s
qluster_arbiter_imported: {{ca_file: {folder}/qnetd-cacert.crt, pkcs12_file: {folder}/qdevice-net-node.p12}}
"""


def installed(lab: LabAtWork) -> None:
    """The package, on a host without a package source; its own scripts make its certificates and start it."""
    folder = lab.say("packages", "corosync-qnetd", timeout=600).strip()
    bring = ["-m", "qhb.qluster.qluster_packages", "-a", f"manager=apt files={folder}"]
    lab.say("exec", "--", str(ANSIBLE), "-i", str(lab.inventory), ARBITER, *bring)
    assert lab.on(ARBITER, "systemctl is-active corosync-qnetd") == "active"


def certified(lab: LabAtWork, folder: Path) -> None:
    """The four steps of docs/how-to/arbiter.md; those of "yours" on this machine, in a directory of their own."""
    database = folder / "qdevice/net/nssdb"

    def here(*words: str) -> None:
        script = 'mount --bind "$0" /etc/corosync && exec corosync-qdevice-net-certutil "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, str(folder), *words],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout

    def there(name: str) -> None:
        """Fetch a file of the arbiter's; some of them are not text."""
        said = lab.on(ARBITER, f"base64 /etc/corosync/qnetd/nssdb/{name}")
        (folder / name).write_bytes(base64.b64decode(said))

    there("qnetd-cacert.crt")
    here("-i", "-c", "/etc/corosync/qnetd-cacert.crt")
    here("-r", "-n", "lab")
    request = base64.b64encode((database / "qdevice-net-node.crq").read_bytes()).decode()
    lab.on(ARBITER, "base64 -d > node.crq && corosync-qnetd-certutil -s -c node.crq -n lab", stdin=request)
    there("cluster-lab.crt")
    here("-M", "-c", "/etc/corosync/cluster-lab.crt")
    shutil.copy(database / "qdevice-net-node.p12", folder)


@pytest.fixture(scope="module")
def pair(lab: LabAtWork, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    packed(lab)
    installed(lab)
    folder = tmp_path_factory.mktemp("given")
    certified(lab, folder)
    hosts = lab.inventory / "hosts.yml"
    text = hosts.read_text()
    for removed in (SPARE, ARBITERS):
        text, count = removed.subn("", text)
        assert count == 1, removed.pattern
    hosts.write_text(text)
    (lab.inventory / "group_vars/all/pair.yml").write_text(GIVEN.format(arbiter=ARBITER_IP, folder=folder))
    found = Pair(lab)
    found.deploy()
    found.rows("create table ledger (number bigint primary key)")
    found.rows("insert into ledger values (0)")
    return found


def test_arbiter_counts_by_episode_once_the_cluster_is_deployed(pair: Pair) -> None:
    pair.whole()
    shown = json.loads(pair.lab.on(pair.leader(), STATUS))["cluster"]["device"]
    assert (shown["votes"], shown["way"], shown["counts"]) == (1, "episode", True)
    listed = pair.lab.on(ARBITER, "corosync-qnetd-tool -lv")
    one, other = re.findall(r"Membership node list:\t(.+)", listed)
    assert one == other and one.count(",") == 1 and listed.count("(client certificate verified)") == 2
    done = pair.play("deploy.yml")
    assert done.returncode == 0 and not re.search(r"changed=[1-9]", done.stdout), done.stdout[-4000:]


@pytest.mark.parametrize(("strike", "undo"), [("kill", "start"), ("cut", "heal")])
@pytest.mark.parametrize("of_primary", [True, False], ids=["primary", "replica"])
def test_writes_go_on_when_either_is_lost(pair: Pair, strike: str, undo: str, of_primary: bool) -> None:
    go_through_a_loss(pair, strike, undo, of_primary=of_primary)


def test_writes_go_on_without_the_arbiter_and_it_counts_again_when_it_is_back(pair: Pair) -> None:
    pair.whole()
    leader = pair.leader()
    pause, _ = written_through(pair, lambda: pair.lab.say("kill", ARBITER), lambda: pair.lab.say("start", ARBITER))
    print(f"death of the arbiter: no write was acknowledged for {pause:.2f} s")
    assert pair.leader() == leader
    pair.whole()
