"""Patroni with etcd as its store, both on each of the hosts.

Must not know what is measured.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

from bench.database.hosts import CLIENT, DatabaseSite
from bench.database.systems import base
from bench.processes import Server, wait_for
from bench.programs import Program
from bench.site import CALM
from bench.systems.etcd import CLIENT_PORT, Etcd

REST_PORT = 8008
FOUND_SECONDS = 120.0
TIMES = {
    "default": {"ttl": 30, "loop_wait": 10, "retry_timeout": 10},
    "pair": {"ttl": 30, "loop_wait": 10, "retry_timeout": 10},
    # The least that it takes; with 0 for the primary's start it fails over instead of waiting for a crash recovery.
    "fast": {"ttl": 20, "loop_wait": 1, "retry_timeout": 3, "primary_start_timeout": 0},
}


class Patroni:
    """Three members of etcd, and a Patroni with its database on each host that has one."""

    name = "patroni"

    def __init__(self, site: DatabaseSite, databases: int, etcd: Program, programs: tuple[str, str], replication: str,
                 setting: str) -> None:
        self._etcd = Etcd(replace(site, timers=CALM), etcd)
        self.site = replace(site, timers=CALM, nodes=databases)
        self._programs = programs
        self._replication, self._setting = replication, setting
        self.servers: dict[int, Server] = {}
        self._watched: dict[tuple[str, int], base.Watched] = {}

    def start(self) -> None:
        """Etcd, then the first Patroni, which makes the database, then the others."""
        self._etcd.start()
        for number, server in self._etcd.servers.items():
            self._watched["etcd", number] = base.Watched(server)
        for number in self.site.numbers:
            (self.site.place(number) / "patroni.yaml").write_text(json.dumps(self._config(number)))
            self._launch(number)
            if number == 1:
                wait_for("a primary", self._leads, [self.servers[1]], FOUND_SECONDS)
        asyncio.run(self._make_application())

    def _launch(self, number: int) -> None:
        words = [*self.site.prefix(number), sys.executable, "-m", "patroni",
                 str(self.site.place(number) / "patroni.yaml")]
        environment = {**os.environ, **base.library_path(self._programs[1]), "HOME": str(self.site.place(number))}
        self.servers[number] = Server(words, self.site.place(number) / "patroni.log", environment)
        self._watched["patroni", number] = base.Watched(self.servers[number])

    def _leads(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.site.ip(1)}:{REST_PORT}/primary", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    async def _make_application(self) -> None:
        connection = await base.target(self.site, superuser=True).connect(1, 5)
        try:
            await connection.execute(
                f"create role {base.APPLICATION} login password '{base.APPLICATION_PASSWORD}'")
            await connection.execute(f"create database {base.APPLICATION} owner {base.APPLICATION}")
        finally:
            connection.terminate()

    def data(self, number: int) -> Path:
        """Its data directory."""
        return self.site.disk(number) / "data"

    def _config(self, number: int) -> dict[str, object]:
        site, ip = self.site, self.site.ip(number)
        superuser = {"username": base.SUPERUSER, "password": base.SUPERUSER_PASSWORD}
        synchronous = {"synchronous_mode": "quorum"} if self._replication == "quorum" else {}
        return {
            "scope": "bench", "name": f"n{number}",
            "restapi": {"listen": f"{ip}:{REST_PORT}", "connect_address": f"{ip}:{REST_PORT}"},
            "etcd3": {
                "hosts": [f"{site.ip(other)}:{CLIENT_PORT}" for other in self._etcd.site.numbers], "protocol": "https",
                "cacert": str(site.folder / "ca.crt"),
            },
            "bootstrap": {
                "dcs": {
                    **TIMES[self._setting], **synchronous,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": base.PARAMETERS},
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"{ip}:{base.DB_PORT}", "connect_address": f"{ip}:{base.DB_PORT}",
                "bin_dir": self._programs[0], "data_dir": str(self.data(number)),
                "pgpass": str(site.place(number) / "pgpass"),
                "parameters": {"unix_socket_directories": str(site.place(number))},
                "authentication": {"superuser": superuser, "replication": superuser, "rewind": superuser},
                "pg_hba": [
                    "local all all scram-sha-256",
                    *(f"host all all {address}/32 scram-sha-256" for address in self._addresses()),
                    *(f"host replication all {address}/32 scram-sha-256" for address in self._addresses()),
                ],
            },
        }  # fmt: skip

    def _addresses(self) -> list[str]:
        return [*(self.site.ip(number) for number in self.site.numbers), CLIENT]

    def daemon(self, number: int) -> int:
        """Patroni's process."""
        return self.servers[number].pid

    def revive(self, number: int) -> None:
        """Start etcd and Patroni of a host."""
        for kind, server in (("etcd", self._etcd.servers[number]), ("patroni", self.servers[number])):
            base.reap(server)
            self._restart(kind, number)

    def _restart(self, kind: str, number: int) -> None:
        if kind == "patroni":
            self._launch(number)
            return
        self._etcd.servers[number] = self._etcd.launch(number)
        self._watched["etcd", number] = base.Watched(self._etcd.servers[number])

    def restart_ended(self, but: int) -> None:
        """As a unit with Restart=always does."""
        for (kind, number), watched in list(self._watched.items()):
            if number != but and watched.due():
                self._restart(kind, number)

    def switch(self, old: int, new: int) -> None:
        """POST /switchover at the primary."""
        body = json.dumps({"leader": f"n{old}", "candidate": f"n{new}"}).encode()
        asked = urllib.request.Request(
            f"http://{self.site.ip(old)}:{REST_PORT}/switchover", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=90) as answer:
            answer.read()

    def stated(self) -> dict[str, int]:
        """It keeps no record of what was left behind."""
        return {}

    def stop(self) -> None:
        """End everything and remove the state."""
        for server in self.servers.values():
            server.end()
        self._etcd.stop()
