"""The cluster's status as tables for people.

It must not decide anything: it asks the node on this host and prints what that answers.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from qluster.api.shapes import ClusterAnswer, DatabaseAnswer, NodeAnswer, SwitchoverAnswer, Whole
from qluster.cli.asking import refusal
from qluster.cli.exits import EXIT_DONE, EXIT_LEADERLESS, EXIT_TROUBLE
from qluster.config import Config
from qluster.config.addresses import place_text
from qluster.consulted import DeviceStatus
from qluster.edge.client import ClientError, ask
from qluster.fenced import FencingStatus
from qluster.paired import TwoNodeStatus
from qluster.status import GuaranteeStatus, PauseStatus, ReignStatus, RestartStatus, StandbyStatus
from qluster.tasked import TasksStatus

ASK_SECONDS = 5.0
"""The node on this host answers from memory, so later than this means never."""

_HEAD = ("node", "address", "role", "state", "database", "timeline", "position", "lag", "heard")


def show_status(config: Config, as_json: bool) -> int:
    """Ask the node on this host and print its answer; the exit code."""
    try:
        token = Path(config.api.read_token_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        return _trouble(f"api.read-token-file: {config.api.read_token_file} cannot be read ({error}). "
                        f"Run this as the user of the service.")
    try:
        answer = asyncio.run(ask((config.ip, config.api_port), "GET", "/status", ca_file=config.api.ca_file,
                                 token=token, timeout=ASK_SECONDS))
        if answer.code != 200:
            return _trouble(refusal(answer))
        whole = msgspec.json.decode(answer.body, type=Whole)
    except ClientError as error:
        return _trouble(str(error))
    except msgspec.MsgspecError as error:
        return _trouble(f"the node's answer is not understood ({error}). Are program and node of one version?")
    print(answer.body.decode() if as_json else "\n".join(lines(whole)))
    return EXIT_DONE if whole.cluster.leader is not None else EXIT_LEADERLESS


def _trouble(line: str) -> int:
    print(line, file=sys.stderr)
    return EXIT_TROUBLE


# --- text -----------------------------------------------------------------------


def lines(whole: Whole) -> list[str]:
    """A status as lines for people."""
    found = [f"{name:<9} {text}" for name, text in _summary(whole)]
    if whole.nodes:
        found.append("")
        found += table(_HEAD, [_row(whole, node) for node in sorted(whole.nodes, key=lambda each: each.node)])
    remarks = list(_remarks(whole))
    return found + ([""] if remarks else []) + remarks


def _summary(whole: Whole) -> Iterator[tuple[str, str]]:
    own, cluster = whole.own, whole.cluster
    if cluster.cluster is None:
        yield "cluster", f"{cluster.name}, not joined"
    else:
        leader = f"led by node {cluster.leader}" if cluster.leader is not None else "without a leader"
        quorate = "quorate" if cluster.quorate else "not quorate"
        yield "cluster", f"{cluster.name}, founding {cluster.cluster}, {leader}, term {cluster.term}"
        yield "votes", f"{quorate}, {cluster.quorum} of {cluster.votes} needed{_half(cluster)}"
        yield "log", (f"committed {cluster.commit_index}, applied {cluster.applied_index}, "
                      f"last {cluster.last_index}, snapshot {cluster.snapshot_index}")
        if cluster.standby is not None:
            yield "standby", _standby(cluster.standby)
        if cluster.reign and cluster.reign.standby:
            yield "primary", f"none here, reign {cluster.reign.number} of node {cluster.reign.node}"
        elif cluster.reign:
            yield "primary", (f"node {cluster.reign.node}, reign {cluster.reign.number}, "
                              f"timeline {cluster.reign.timeline} from {cluster.reign.position_text}"
                              f"{_lost(cluster.reign)}{_waits_for(cluster.guarantee)}")
        else:
            yield "primary", "none yet"
        if cluster.pause is not None:
            yield "pause", _pause(cluster.pause)
    yield from _switchovers(cluster.switchover)
    name = f"node {own.node}" if own.node is not None else own.ip
    lease = f", lease {own.lease_left:.2f} s" if own.lease_left is not None else ""
    stopping = ", stopping" if own.stopping else ""
    yield "here", f"{name}, {own.consensus_role}{lease}, version {own.version}, up {span_text(own.uptime)}{stopping}"
    if (pair := cluster.two_node) is not None:
        yield "two-node", _two_node(pair)
    if own.device is not None:
        yield "arbiter", _device(own.device)
    if whole.tasks.enabled or whole.tasks.states:
        yield "tasks", _tasks(whole.tasks)


def _tasks(tasks: TasksStatus) -> str:
    """How many there are, in words, and why none is begun here."""
    listed = ", ".join(f"{count} {state}" for state, count in tasks.states.items()) or "none waits or runs"
    here = f", {tasks.running} of them here" if tasks.running else ""
    return f"{listed}{here}" + (f"; NONE IS BEGUN HERE: {tasks.fault}" if tasks.fault else "")


def _device(device: DeviceStatus) -> str:
    """What the arbiter says, in words."""
    said = f", says {device.answer} to the membership {device.ring}" if device.answer is not None else ""
    state = "connected" if device.connected else device.state
    return f"{device.algorithm} at {place_text(device.host, device.port)}, {state}{said}"


def _two_node(pair: TwoNodeStatus) -> str:
    """How far one of two is with going on alone, in words; why stands below the table."""
    if pair.claim not in ("none", "alone"):
        shots = f", {pair.shots} of {pair.attempts} shots" if pair.shots else ""
        return f"node {pair.other} is silent, claim: {pair.claim}{shots}"
    if pair.claim == "alone":
        return "went on alone, until the other one has the whole log again"
    able = "could" if pair.able else "could NOT"
    return f"in force, this node {able} go on without node {pair.other}" if pair.in_force else "not in force"


def _standby(standby: StandbyStatus) -> str:
    """Whom a standby cluster follows, in words."""
    if standby.node is None or not standby.streaming:
        return f"of {standby.of}, which is NOT FOLLOWED{': ' if standby.error else ''}{standby.error}"
    lag = "lag not known" if standby.lag_bytes is None else f"{size_text(standby.lag_bytes)} behind"
    return f"of {standby.of}: node {standby.node} follows {standby.upstream}, {lag}"


def _half(cluster: ClusterAnswer) -> str:
    """With whom half of the votes are enough, in words; "" with none."""
    return f", {cluster.votes // 2} with node {cluster.tie_breaker}" if cluster.tie_breaker is not None else ""


def _lost(reign: ReignStatus) -> str:
    """What its beginning cost, in words; "" when nothing."""
    if reign.left_bytes is not None:
        return f", {size_text(reign.left_bytes)} of WAL left behind" if reign.left_bytes else ""
    if not reign.lost_bytes and not reign.accepted:
        return ""
    most = "" if reign.bound_bytes is None else f", {size_text(reign.bound_bytes)} at most"
    return f", {size_text(reign.lost_bytes)} of WAL left behind{most}"


def _switchovers(found: SwitchoverAnswer) -> Iterator[tuple[str, str]]:
    """What is to be said of changes of leader by plan."""
    if found.planned is not None:
        target = f"node {found.planned.node}" if found.planned.node is not None else "the fittest node"
        yield "scheduled", f"leadership goes to {target} at {found.planned.at}"
    if found.under_way is not None:
        yield "switching", f"to node {found.under_way}; clients of the pools wait"
    if found.last is not None and found.last.reason:
        yield "switchover", f"the last one, at {found.last.at}, came to nothing: {found.last.reason}"


def _waits_for(guarantee: GuaranteeStatus | None) -> str:
    """For whom a transaction waits, in words; "" when replication is asynchronous."""
    if guarantee is None:
        return ""
    text = "waits for no replica: none streams"
    if guarantee.needed:
        text = f"waits for {guarantee.needed} of nodes {', '.join(map(str, guarantee.standbys))}"
    return f", {text}" if guarantee.settled else f", {text} (being changed)"


def _pause(pause: PauseStatus) -> str:
    """A pause, or what is left of one, in words."""
    if pause.active:
        because = f" ({pause.reason})" if pause.reason else ""
        return f"PAUSED{because}: databases are left alone until `qluster resume`"
    return f"over, but nobody takes over from node {pause.node} until it is heard"


def _row(whole: Whole, node: NodeAnswer) -> tuple[str, ...]:
    mark = "*" if node.node == whole.own.node else ""
    state = "leader" if node.leader else "down" if node.down else "alive" if node.alive else "silent"
    heard = "here" if mark else "never" if node.heard_ago is None else f"{node.heard_ago:.2f} s"
    database = node.database
    return (
        f"{node.node}{mark}", place_text(node.ip, node.api_port), node.role, state, _database_text(node),
        str(database.timeline) if database and database.timeline is not None else "-",
        database.position_text or "-" if database else "-", _lag_text(database), heard,
    )


def _database_text(node: NodeAnswer) -> str:
    if node.pool is not None:
        readers = f", reading: {', '.join(node.pool.replicas)}" if node.pool.replicas else ""
        return f"pool: {node.pool.target or 'nobody'}{readers}"
    database = node.database
    if database is None or database.role == "none":
        return "-"
    words = [database.role]
    if database.state not in ("", "idle"):
        words.append(f"{database.state}{_progress(database)}")
    if database.role == "replica":
        words.append("streaming" if database.streaming else "not streaming")
    return ", ".join(words)


def _progress(database: DatabaseAnswer) -> str:
    """How far a copy is, as far as that is known."""
    if database.copied_bytes is None:
        return ""
    if not database.copy_bytes:
        return f" {size_text(database.copied_bytes)}"
    share = min(100, 100 * database.copied_bytes // database.copy_bytes)
    return f" {share} % of {size_text(database.copy_bytes)}"


def _lag_text(database: DatabaseAnswer | None) -> str:
    return size_text(database.lag_bytes) if database and database.lag_bytes is not None else "-"


def _troubles(database: DatabaseAnswer | None) -> Iterator[str]:
    """What is wrong with a database, and what soon will be."""
    if database is None:
        return
    yield from filter(None, (database.error, database.archive_error))
    if database.room_error and database.room_error not in database.error:
        yield database.room_error


def _remarks_on_force(cluster: ClusterAnswer) -> Iterator[str]:
    if cluster.forcing:
        yield f"here: {cluster.forcing}"
    if cluster.forced:
        last = cluster.forced[-1]
        lost = ", ".join(f"node {one.node} ({one.ip})" for one in last.given_up) or "nobody"
        who = f"an operator ({last.by})" if last.by else "an operator"
        yield (f"forced: {who} forced the quorum on node {last.node} at {last.at}, without {lost}; founding "
               f"{last.former} is void, and its nodes join this one when they are back")  # fmt: skip
        if last.outside:
            yield f"forced: not back since then: {', '.join(one.ip for one in last.outside)}"


def _remarks_on_votes(cluster: ClusterAnswer) -> Iterator[str]:
    yield from (f"votes: {remark}" for remark in cluster.remarks)
    if (device := cluster.device) is not None and device.votes and not device.counts:
        yield f"votes: those of the device ({device.votes}) do not count for this node: {device.reason}"
    if cluster.resting and cluster.cluster is not None:
        yield f"votes: not counted until they keep up: nodes {', '.join(map(str, cluster.resting))}"


def _remarks(whole: Whole) -> Iterator[str]:
    if whole.own.message:
        yield f"here: {whole.own.message}"
    if whole.own.device is not None and whole.own.device.reason:
        yield f"arbiter: its vote does not count: {whole.own.device.reason}"
    yield from _remarks_on_force(whole.cluster)
    yield from _remarks_on_votes(whole.cluster)
    if (restart := whole.cluster.database_restart) is not None and restart.state != "done":
        yield _restart_text(restart)
    yield from (
        f"node {node.node}: paused, it {node.database.withheld}"
        for node in whole.nodes if node.database and node.database.withheld
    )  # fmt: skip
    for node in whole.nodes:
        yield from (f"node {node.node}: {trouble}" for trouble in _troubles(node.database))
        if node.database and node.database.pending_restart:
            names = ", ".join(sorted(node.database.pending))
            yield f"node {node.node}: its database must restart before all its parameters hold" + (
                f": {names}" if names else ""
            )
        if node.database and node.database.refused:
            yield f"node {node.node}: its database runs with parameters of before: {node.database.refused}"
        if node.database and node.database.overridden:
            names = ", ".join(node.database.overridden)
            yield f"node {node.node}: its config.yaml says otherwise than the cluster's log: {names}"
        if node.database and node.database.barred:
            yield f"node {node.node}: its database could not take over: {node.database.barred}"
        if node.database and node.database.slot_error:
            yield f"node {node.node}: its replication slots are not as they should be: {node.database.slot_error}"
        yield from (f"node {node.node}: {line}" for line in _fencing_text(node.fencing))
        if node.pool and node.pool.error:
            yield f"node {node.node}: {node.pool.error}"
    for name, found in (("settings", {node.settings_digest for node in whole.nodes if node.settings_digest}),
                        ("version", {node.version for node in whole.nodes if node.version})):
        if len(found) > 1:
            yield f"nodes differ in their {name}: {', '.join(sorted(found))}"


def _fencing_text(fencing: FencingStatus) -> Iterator[str]:
    """What is wrong with how a node can be fenced, and what came of the last time."""
    if fencing.well is False:
        yield f"could not be fenced from here: {fencing.said}"
    if fencing.left_off:
        yield f"its host was fenced and could not be switched on again, do that by hand: {fencing.left_off}"
    last = fencing.last
    if last is None:
        return
    when = f"{span_text(last.ago)} ago for reign {last.reign}"
    if last.by is None:
        yield f"an operator confirmed {when} that its host was off"
    else:
        outcome = {True: "fenced", False: "NOT fenced", None: "ordered to be fenced"}[last.success]
        by = f"by node {last.by}{', as an operator asked' if last.asked else ''}"
        yield f"{outcome} {by} {when}{': ' if last.said else ''}{last.said}"


def _restart_text(restart: RestartStatus) -> str:
    """A restart of all databases that goes on, or did not get to its end."""
    if restart.state != "running":
        return f"the restart of the databases (entry {restart.begun}) ended: {restart.reason}"
    turn = f", now node {restart.node}" if restart.node is not None else ""
    waits = f", waits: {restart.waits_for}" if restart.waits_for else ""
    return f"the databases restart one after the other (entry {restart.begun}){turn}{waits}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows below a head, each column as wide as its widest text."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in [head, *rows]]


def size_text(count: int) -> str:
    """Bytes with a unit."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.2f} {unit}"


def span_text(seconds: float) -> str:
    """A span of time in its two largest units."""
    whole = int(seconds)
    for name, length, smaller, smaller_length in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= length:
            return f"{whole // length} {name} {whole % length // smaller_length} {smaller}"
    return f"{seconds:.2f} s"
