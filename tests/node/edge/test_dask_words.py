"""How Dask's programs are called, and that a host's part follows the leader: a program notes its call and stays."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

import msgspec
import pytest
from edge.daemon_world import Site
from qluster.config import Config, Tasks, parse
from qluster.edge.dask import member, words
from qluster.edge.dask.member import Member


def configured(root: Path, python: str = "/opt/dask/bin/python") -> tuple[Config, Tasks]:
    """Node 1 of three, with Dask."""
    site = Site(root, "239.77.41.14:5482", "127.41.14", hosts=1)
    path = site.configure(1, tasks={"dask-python": python, "dask-port": 9000})
    config = parse(path.read_text(), str(path))
    assert config.tasks is not None
    return config, config.tasks


def test_programs_listen_on_the_hosts_address_alone_and_on_ports_that_are_known(tmp_path: Path) -> None:
    config, tasks = configured(tmp_path)
    scheduler = shlex.join(words.scheduler(config, tasks))
    assert scheduler == ("/opt/dask/bin/python -I -m distributed.cli.dask_scheduler --host 127.41.14.1 --protocol tls "
                         "--port 9000 --no-dashboard --dashboard-address 127.0.0.1:0")
    worker = shlex.join(words.worker(config, tasks, "127.41.14.2"))
    assert "dask_worker tls://127.41.14.2:9000 --host 127.41.14.1 --protocol tls" in worker
    assert "--worker-port 9001:9064 --nanny-port 9101:9164" in worker
    assert tasks.dask_port + words.PORTS - 1 == 9164
    assert words.address("fd00::1", 9000) == "tls://[fd00::1]:9000"
    six = msgspec.structs.replace(config, ip="fd00::1")
    assert "--host [fd00::1] --protocol tls --port 9000" in " ".join(words.scheduler(six, tasks))


def test_all_of_them_prove_who_they_are_and_tell_nothing_by_http(tmp_path: Path) -> None:
    config, _ = configured(tmp_path)
    found = words.environment(config)
    assert found["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "True"
    assert found["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] == config.api.ca_file
    for who in ("SCHEDULER", "WORKER", "CLIENT"):
        assert found[f"DASK_DISTRIBUTED__COMM__TLS__{who}__KEY"] == config.api.key_file
    assert {value for name, value in found.items() if name.endswith("ROUTES")} == {"[]"}
    own = msgspec.structs.replace(config, tasks=Tasks(
        dask_ca_file="/own/ca", dask_certificate_file="/own/crt", dask_key_file="/own/key"))  # fmt: skip
    tls = {value for name, value in words.environment(own).items() if "TLS" in name}
    assert tls == {"/own/ca", "/own/crt", "/own/key"}, "nothing of the cluster's"


def test_a_script_gets_its_words_after_where_the_scheduler_is_told(tmp_path: Path) -> None:
    _, tasks = configured(tmp_path)
    called = words.script(tasks, "/run/script.py", "/tasks/dask", ("-v", "two words"))
    assert called == ["/opt/dask/bin/python", "-I", words.SCRIPT, "/tasks/dask/scheduler", "/run/script.py", "-v",
                      "two words"]  # fmt: skip
    assert Path(words.SCRIPT).exists()


@pytest.fixture
def noting(tmp_path: Path) -> Path:
    """A program that notes how it was called, and stays."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\necho "$3 $4" >> {tmp_path}/calls\nexec sleep 60\n')
    path.chmod(0o755)
    return path


def test_scheduler_and_workers_follow_the_leader(
    tmp_path: Path, noting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "PAUSE", 0.0)
    config, tasks = configured(tmp_path, str(noting))
    assert member.prepare(tasks, str(tmp_path), ()) in ((), None)
    one = Member(config, tasks, str(tmp_path))
    calls = tmp_path / "calls"

    def new(count: int) -> set[str]:
        """What was begun since, once there is so much of it."""
        for _ in range(500):
            lines = calls.read_text().splitlines() if calls.exists() else []
            if len(lines) == count:
                calls.unlink(missing_ok=True)
                return {line.removeprefix("distributed.cli.dask_") for line in lines}
            asyncio.run(asyncio.sleep(0.02))
        raise AssertionError(calls.read_text() if calls.exists() else "nothing was begun")

    async def walk(*leaders: str) -> None:
        for leader in leaders:
            await one.follow(leader)

    try:
        asyncio.run(walk(""))
        assert new(0) == set(), "nobody leads yet"
        asyncio.run(walk("127.41.14.2", "", "127.41.14.2"))
        assert new(1) == {"worker tls://127.41.14.2:9000"}
        asyncio.run(walk("127.41.14.1", ""))
        assert new(2) == {"scheduler --host", "worker tls://127.41.14.1:9000"}
        assert (tmp_path / words.ADDRESS_FILE).read_text() == "tls://127.41.14.1:9000\n"
        asyncio.run(walk("127.41.14.3"))
        assert new(1) == {"worker tls://127.41.14.3:9000"}, "the scheduler here has ended"
        assert one._scheduler.process is None
        assert one._worker.process is not None
        one._worker.process.kill()
        one._worker.process.wait()
        asyncio.run(walk("127.41.14.3"))
        assert new(1) == {"worker tls://127.41.14.3:9000"}, "what has ended is begun again"
    finally:
        asyncio.run(one.end())
    assert one._worker.process is None
