"""The product with its databases.

Must not know what is measured.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import yaml

from bench.database.hosts import CLIENT, DatabaseSite
from bench.database.systems import base
from bench.processes import Server, wait_for
from bench.programs import ROOT
from bench.site import OPERATE_TOKEN
from bench.systems import qluster

DEFAULTS = ROOT / "roles" / "node" / "defaults" / "main.yml"
TIMES = ("node_timeout", "heartbeat_interval", "pre_voting_timeout", "leader_voting_timeout",
         "replication_retry_interval")
FOUND_SECONDS = 90.0
ARBITER_PORT = 5403


def _times(timeout: str, heartbeat: str, stage: str, retry: str) -> dict[str, str]:
    return {
        "node-timeout": timeout, "heartbeat-interval": heartbeat, "pre-voting-timeout": stage,
        "leader-voting-timeout": stage, "replication-retry-interval": retry,
    }  # fmt: skip


def times(setting: str) -> dict[str, str]:
    """Configuration key below ``cluster`` → duration."""
    if setting in ("default", "pair"):
        defaults = yaml.safe_load(DEFAULTS.read_text())
        return {name.replace("_", "-"): str(defaults[f"node_cluster_{name}"]) for name in TIMES}
    if setting == "equal":
        return _times("20s", "1s", "1s", "1s")
    return _times("1s", "200ms", "300ms", "200ms")


class DatabaseQluster(qluster.Qluster):
    """Daemons on hosts of their own, each with a database; where a host is left, it has the arbiter."""

    site: DatabaseSite

    def __init__(self, site: DatabaseSite, databases: int, source: Path, programs: tuple[str, str], replication: str,
                 setting: str) -> None:
        super().__init__(replace(site, nodes=databases), source)
        self._arbiter_site = site if databases < site.nodes else None
        self._arbiter: Server | None = None
        self._programs = programs
        self._cluster = {**times(setting), "synchronous": replication}
        self._watched: dict[int, base.Watched] = {}

    def adjust(self, times: dict[str, str]) -> None:
        """Take these times instead of the setting's; before the start."""
        self._cluster.update(times)

    def start(self) -> None:
        """Found it; complete when all vote."""
        super().start()
        if self._arbiter_site is not None:
            self._arbiter = self._launch_arbiter(self._arbiter_site)
            wait_for("an arbiter that counts", self._arbitrated, [self._arbiter], FOUND_SECONDS)
        self._watched = {number: base.Watched(server) for number, server in self.servers.items()}
        wait_for("a database", self.primary, list(self.servers.values()), FOUND_SECONDS)

    def _launch_arbiter(self, site: DatabaseSite) -> Server:
        place = site.place(site.nodes)
        (place / "memory").mkdir(parents=True)
        config = {
            "port": ARBITER_PORT, "socket-file": str(place / "q.sock"), "tls": {"mode": "off"},
            "memory-dir": str(place / "memory"),
        }  # fmt: skip
        (place / "qnetd.yaml").write_text(json.dumps(config))
        words = [*site.prefix(site.nodes), sys.executable, "-m", "qluster.qnetd", "--config", str(place / "qnetd.yaml")]
        return Server(words, place / "log", qluster.environment(self._source))

    def _arbitrated(self) -> bool:
        devices = [(self.map(number).get("own") or {}).get("device") or {} for number in self.site.numbers]
        return all(device.get("counts") for device in devices)

    def primary(self) -> int:
        """The node that says that a client may write to it."""
        said = {number: self.map(number).get("own") or {} for number in self.site.numbers}
        return next((number for number, own in said.items() if own.get("may_write")), 0)

    def data(self, number: int) -> Path:
        """Its data directory."""
        return self.site.disk(number) / "data"

    def _config(self, number: int) -> dict[str, object]:
        site, found = self.site, super()._config(number)
        self.data(number).mkdir(exist_ok=True)
        (site.place(number) / "run").mkdir(exist_ok=True)
        for name, text in (("super", base.SUPERUSER_PASSWORD), ("application", base.APPLICATION_PASSWORD)):
            path = site.folder / f"{name}.password"
            path.write_text(text + "\n")
            path.chmod(0o600)
        cluster = found["cluster"]
        assert isinstance(cluster, dict), "a section"
        cluster.update(self._cluster)
        if self._arbiter_site is not None:
            arbiter = self._arbiter_site.ip(self._arbiter_site.nodes)
            found["device"] = {"host": arbiter, "port": ARBITER_PORT, "tls": "off"}
        refused = ("wal_log_hints", "recovery_init_sync_method")  # the daemon's own affair: it sets both as all have it
        found["database"] = {
            "bin-dir": self._programs[0], "library-dir": self._programs[1], "data-dir": str(self.data(number)),
            "port": base.DB_PORT, "wal-archive-dir": "", "socket-dir": str(site.place(number) / "run"),
            "superuser": base.SUPERUSER, "password-file": str(site.folder / "super.password"),
            "application-user": base.APPLICATION, "application-database": base.APPLICATION,
            "application-password-file": str(site.folder / "application.password"),
            "client-networks": [f"{CLIENT}/32"],
            "parameters": {name: value for name, value in base.PARAMETERS.items() if name not in refused},
        }  # fmt: skip
        return found

    def daemon(self, number: int) -> int:
        """The daemon's process."""
        return self.servers[number].pid

    def revive(self, number: int) -> None:
        """Start a node's daemon."""
        base.reap(self.servers[number])
        self.servers[number] = self.launch(number)
        self._watched[number] = base.Watched(self.servers[number])

    def restart_ended(self, but: int) -> None:
        """As its unit does."""
        for number, watched in self._watched.items():
            if number != but and watched.due():
                self.revive(number)

    def switch(self, old: int, new: int) -> None:
        """POST /leader at the primary. Nodes are numbered as they joined, not as their hosts are."""
        [node] = [one["node"] for one in self.map(old)["nodes"] if one["ip"] == self.site.ip(new)]
        asked = urllib.request.Request(
            f"https://{self.site.ip(old)}:{qluster.PORT}/leader?node={node}", method="POST",
            headers={"Authorization": f"Bearer {OPERATE_TOKEN}"},
        )  # fmt: skip
        with urllib.request.urlopen(asked, timeout=60, context=self._context) as answer:
            json.load(answer)

    def stop(self) -> None:
        """End everything and remove the state."""
        if self._arbiter is not None:
            self._arbiter.end()
        super().stop()

    def stated(self) -> dict[str, int]:
        """The newest reign."""
        reigns = [self.map(number).get("cluster", {}).get("reign") or {} for number in self.site.numbers]
        newest: dict[str, int] = max(reigns, key=lambda reign: int(reign.get("number", 0)))
        return newest
