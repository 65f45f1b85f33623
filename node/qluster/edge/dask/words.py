"""Says how Dask's programs are called: arguments, environment, ports.

It must not start them. Whoever connects to a scheduler or worker may run anything there as its user, so all of them
speak TLS with an authority that issues for nothing else, and answer no HTTP.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

from qluster.config import Config, Tasks
from qluster.edge.runner.place import tasks_dir

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WORKERS_MAX = 64
"""Processes of workers of one host, for which ports are kept: ``dask-port`` + 1 and on, their keepers' from + 101."""
KEEPERS_FROM = 101
PORTS = KEEPERS_FROM + WORKERS_MAX
"""Ports from ``dask-port`` on that Dask may listen on."""
DEATH_TIMEOUT = 15
"""Seconds that a worker seeks a scheduler before it ends, and is begun again."""
SCRIPT = str(Path(__file__).with_name("script.py"))
ADDRESS_FILE = "scheduler"
"""Has the scheduler's address, in the directory of Dask's files."""


def directory_of(config: Config, tasks: Tasks) -> str:
    """Directory in which the scheduler's address is told, with that of Dask's own files."""
    return tasks.dask_dir or os.path.join(tasks_dir(tasks.dir, config.state_dir), "dask")


def home_of(directory: str) -> str:
    """Where Dask's programs may write."""
    return os.path.join(directory, "home")


def address(ip: str, port: int) -> str:
    """As Dask writes it."""
    return f"tls://{_host(ip)}:{port}"


def scheduler(config: Config, tasks: Tasks) -> list[str]:
    """The scheduler of a host that leads."""
    return [*_python(tasks), "-m", "distributed.cli.dask_scheduler", "--host", _host(config.ip), "--protocol", "tls",
            "--port", str(tasks.dask_port), *_QUIET]  # fmt: skip


def worker(config: Config, tasks: Tasks, leader: str) -> list[str]:
    """The workers of a host, for the scheduler where the leader is: as many as its processors make sensible."""
    first, keeper = tasks.dask_port + 1, tasks.dask_port + KEEPERS_FROM
    return [
        *_python(tasks), "-m", "distributed.cli.dask_worker", address(leader, tasks.dask_port),
        "--host", _host(config.ip), "--protocol", "tls", "--name", config.ip, "--nworkers", "auto",
        "--worker-port", f"{first}:{first + WORKERS_MAX - 1}",
        "--nanny-port", f"{keeper}:{keeper + WORKERS_MAX - 1}",
        "--death-timeout", str(DEATH_TIMEOUT), *_QUIET,
    ]  # fmt: skip


def script(tasks: Tasks, text: str, directory: str, arguments: tuple[str, ...]) -> list[str]:
    """A script in the file ``text``, which finds the scheduler by what the keeper wrote in ``directory``."""
    return [*_python(tasks), SCRIPT, os.path.join(directory, ADDRESS_FILE), text, *arguments]


def environment(config: Config) -> dict[str, str]:
    """By which all of Dask's programs prove who they are; Dask reads such names as its configuration."""
    api = config.api
    tasks = config.tasks or Tasks()
    found = {
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": tasks.dask_ca_file or api.ca_file,
        "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",
        "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
        "DASK_DISTRIBUTED__NANNY__HTTP__ROUTES": "[]",
    }
    for who in ("SCHEDULER", "WORKER", "CLIENT"):
        found[f"DASK_DISTRIBUTED__COMM__TLS__{who}__CERT"] = tasks.dask_certificate_file or api.certificate_file
        found[f"DASK_DISTRIBUTED__COMM__TLS__{who}__KEY"] = tasks.dask_key_file or api.key_file
    return found


_QUIET = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
"""It listens for HTTP in any case: where nobody else can come to, and with nothing to tell."""


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


def _python(tasks: Tasks) -> tuple[str, str]:
    return tasks.dask_python or "", "-I"
