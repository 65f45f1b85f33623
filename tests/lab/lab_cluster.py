"""A cluster on a lab's hosts, driven by the playbooks and asked by clients on the lab's network."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import count
from pathlib import Path
from urllib.parse import quote

from lab_world import CHECKOUT, LabAtWork

BIN = Path(sys.executable).parent
CLIENT = Path(__file__).with_name("cluster_client.py")
ADDRESSES = {"db1": "10.77.0.11", "db2": "10.77.0.12", "db3": "10.77.0.13"}
HOSTS = ["db1", "db2", "db3", "pool1"]
PLAY_TIMEOUT = 900  # seconds; on a quiet machine a deployment takes one minute
PACK_TIMEOUT = 600


class Cluster:
    """What the playbooks made of the lab's hosts."""

    def __init__(self, lab: LabAtWork) -> None:
        self.lab = lab
        self.secrets = lab.inventory / ".secrets"
        self.pool = ""
        self._series = count(1)

    def fresh(self) -> int:
        """The first of a million numbers that no other client writes."""
        return 1_000_000 * next(self._series)

    def play(self, playbook: str, *words: str, checkout: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
        """Run a playbook to its end, of this checkout or of another one."""
        command = [str(BIN / "ansible-playbook"), "-i", str(self.lab.inventory), playbook, *words]
        return self.lab.order("exec", "--", *command, timeout=PLAY_TIMEOUT, checkout=checkout)

    def deploy(self) -> str:
        done = self.play("deploy.yml")
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr
        shown = re.search(r"postgresql://(\S+)@([\d.]+:\d+)/(\w+)", done.stdout)
        assert shown, "the playbook's last words name the pool"
        password = (self.secrets / "application.password").read_text().strip()
        self.pool = f"postgresql://{shown[1]}:{quote(password)}@{shown[2]}/{shown[3]}"
        return done.stdout

    def ask(self, *words: str) -> list[object]:
        answer = self.lab.say("exec", "--", sys.executable, str(CLIENT), *words)
        return list(json.loads(answer))

    def database(self, host: str) -> str:
        """How to reach the database of one host without the pool."""
        return re.sub(r"@[\d.]+:\d+", f"@{ADDRESSES[host]}:5432", self.pool)

    def rows(self, statement: str) -> list[object]:
        """What the pool answers."""
        return self.ask("rows", self.pool, statement)

    def leader(self) -> str:
        """The host that says it leads, "" when none does; fails when two do."""
        token = (self.secrets / "read.token").read_text().strip()
        found = self.ask("leaders", str(self.secrets / "ca.crt"), token, *ADDRESSES.values())
        assert len(found) <= 1, f"{found} all say that they lead"
        return next((host for host, address in ADDRESSES.items() if [address] == found), "")

    def holds(self, host: str, numbers: set[int]) -> bool:
        """Whether the database of the host itself has all these rows."""
        words = [sys.executable, str(CLIENT), "rows", self.database(host), "select number from ledger"]
        done = self.lab.order("exec", "--", *words)
        return done.returncode == 0 and numbers <= set(json.loads(done.stdout))


def changes(output: str) -> dict[str, int]:
    """Changes by host, from the recap of a run."""
    return {host: int(count) for host, count in re.findall(r"^(\S+)\s*: ok=\d+\s+changed=(\d+)", output, re.M)}


def packed(lab: LabAtWork, checkout: Path = CHECKOUT) -> None:
    """The daemon's archive is packed where there is a way to the package index."""
    minor = lab.on("db1", "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'")
    architecture = lab.on("db1", "uname -m")
    pack = [sys.executable, "packaging/build_release.py", "--python", minor, "--architecture", architecture]
    done = subprocess.run(pack, cwd=checkout, capture_output=True, text=True, timeout=PACK_TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
