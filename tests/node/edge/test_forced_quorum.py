"""A real cluster loses its majority, and an operator forces the quorum: who comes back follows, with one history."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from edge.daemon_world import NODE, wait_for
from edge.fault_world import Hosts, Ledger, obstacle, run


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if reason := obstacle():
        pytest.skip(reason)
    made = Hosts()
    try:
        for number in (1, 2, 3):
            made.prepare(number)
            made.start(number)
        wait_for("a whole cluster", made.whole, 60)
        yield made
    finally:
        made.end()


def command(hosts: Hosts, number: int, *words: str) -> tuple[int, str]:
    """The command line on a host, also on one that is cut off."""
    done = subprocess.run(
        ["ip", "netns", "exec", hosts.namespace(number), sys.executable, "-m", "qluster", *words, "--config",
         str(hosts.place(number) / "config.yaml")],
        env={**os.environ, "PYTHONPATH": str(NODE)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def switch_off(hosts: Hosts, number: int) -> None:
    """Every process of a host is gone."""
    while pids := run("ip", "netns", "pids", hosts.namespace(number)).split():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        hosts.daemons[number].wait(10)


async def rows(ledger: Ledger, number: int) -> list[int]:
    connection = await ledger.connect(number)
    try:
        return [row for row, in await connection.fetch(f"select row from {ledger.name} order by row")]
    finally:
        connection.terminate()


def test_replica_that_was_cut_off_goes_on_and_the_others_take_back_what_only_they_had(hosts: Hosts) -> None:
    [primary] = hosts.writable()
    last, other = [number for number in (1, 2, 3) if number != primary]
    with Ledger(hosts) as ledger:
        ledger.wait_for_rows(primary)
        wait_for("a whole cluster", hosts.whole, 60)
        hosts.cut(last)
        wait_for("rows that the last node lacks", lambda: len(ledger.acknowledged) > 500, 60)
    switch_off(hosts, primary)
    switch_off(hosts, other)
    hosts.mend(last)
    off = ["--confirm-off", hosts.ip(primary), "--confirm-off", hosts.ip(other)]
    wait_for("silence", lambda: command(hosts, last, "force-quorum", "--name", "trial", "--check", *off)[0] == 0, 30)
    code, said = command(hosts, last, "force-quorum", "--name", "trial", *off[:2])
    assert code != 0 and f"say so with --confirm-off {hosts.ip(other)}" in said, said
    code, said = command(hosts, last, "force-quorum", "--name", "trail", *off)
    assert code != 0 and "this cluster is called trial, not trail" in said, said
    code, said = command(hosts, last, "force-quorum", "--name", "trial", *off)
    assert code == 0, said + hosts.log(last)[-3000:]
    wait_for("a primary", lambda: hosts.writable() == [last], 60)
    for number in (primary, other):
        hosts.start(number)
    wait_for("a whole cluster again", hosts.whole, 120)
    assert hosts.writable() == [last]
    kept = asyncio.run(rows(ledger, last))
    assert kept and len(kept) < len(ledger.acknowledged), "what only the others had is gone"
    wait_for("the same rows", lambda: all(asyncio.run(rows(ledger, number)) == kept for number in (primary, other)))
    wait_for("what was taken back is known", lambda: (
        hosts.map(last)["cluster"]["reign"]["left_bytes"] or 0) > 0, 30)  # type: ignore[index]
    code, said = command(hosts, last, "status")
    assert code == 0 and "forced: an operator (command-line) forced the quorum on node" in said, said
    print(said)


@pytest.mark.skipif(os.environ.get("QLUSTER_FULL_TESTS") != "1", reason="half a minute: QLUSTER_FULL_TESTS=1")
def test_majority_that_was_alive_stops_its_primary_as_soon_as_it_hears_of_the_later_founding(hosts: Hosts) -> None:
    """The operator was wrong: there are two primaries as long as the cut lasts, and one history after it."""
    [primary] = hosts.writable()
    last, other = [number for number in (1, 2, 3) if number != primary]
    with Ledger(hosts) as ledger:
        ledger.wait_for_rows(primary)
        wait_for("a whole cluster", hosts.whole, 60)
        hosts.cut(last)
        off = ["--confirm-off", hosts.ip(primary), "--confirm-off", hosts.ip(other)]
        words = ["force-quorum", "--name", "trial", *off]
        wait_for("silence", lambda: command(hosts, last, *words, "--check")[0] == 0, 30)
        code, said = command(hosts, last, *words)
        assert code == 0, said
        wait_for("two primaries", lambda: "may be written to" in said or (
            '"may_write":true' in command(hosts, last, "status", "--json")[1].replace(" ", "")), 60)
        assert hosts.writable() == [primary], "nobody hears the other one from here"
        server = hosts.postmaster(primary)
        hosts.mend(last)
        wait_for("the end of the former primary", lambda: hosts.postmaster(primary) != server, 10)
        wait_for("a whole cluster", lambda: hosts.whole() and hosts.writable() == [last], 120)
    wait_for("what was taken back is known", lambda: (
        hosts.map(last)["cluster"]["reign"]["left_bytes"] or 0) > 0, 30)  # type: ignore[index]
    kept = asyncio.run(rows(ledger, last))
    wait_for("the same rows", lambda: all(asyncio.run(rows(ledger, number)) == kept for number in (primary, other)))
