"""A cluster for the tests of the interface: three nodes with databases and a pool host."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec.structs import replace
from qluster.archived import BackupEntry, BackupsStatus
from qluster.consulted import DeviceStatus
from qluster.forced import ForcedStatus, LostNode
from qluster.paired import ShotStatus, TwoNodeStatus
from qluster.status import (
    ChangeStatus,
    ClusterStatus,
    DatabaseHealth,
    DatabaseSettingsStatus,
    DatabaseStatus,
    GuaranteeStatus,
    Health,
    NodeStatus,
    OwnStatus,
    ParameterStatus,
    PauseStatus,
    PoolStatus,
    ReignStatus,
    RestartStatus,
    SlotStatus,
    StandbyStatus,
    Status,
)
from qluster.tasked import SlotsStatus, TasksStatus
from qluster.voted import DeviceFlagsStatus, QuorumChangeStatus, RingStatus, VoterStatus, VotesStatus

SYSTEM_ID = 7300000000000000001
SETTINGS = {
    "cluster.autoremove-enabled": "false",
    "cluster.autoremove-minimum": "3",
    "cluster.maximum-lag": "16777216",
    "cluster.synchronous": "off",
    "cluster.synchronous-strict": "false",
    "cluster.heartbeat-interval": "10s",
    "cluster.leader-voting-timeout": "10s",
    "cluster.node-timeout": "30s",
    "cluster.pre-voting-timeout": "10s",
    "cluster.quorum-replication": "true",
    "cluster.remove-interval": "1m",
    "cluster.replication-factor": "0",
    "cluster.replication-retry-interval": "1s",
    "hello-retry-interval": "1s",
    "udp.socket.group": "239.19.76.1:7400",
    "udp.socket.pacing-rate": "268435456",
}
NOBODY_HEARD = "no cluster 'main' answers its hello"
DB_CONFIG = {"max_connections": "100", "port": "5432", "synchronous_commit": "on"}


def database(role: str, position: int, **more: object) -> DatabaseStatus:
    plain = DatabaseStatus(
        role=role,
        state="idle",
        system_id=SYSTEM_ID,
        timeline=2,
        position=position,
        replayed=position,
        streaming=role == "replica",
        upstream="10.0.0.1:5432" if role == "replica" else None,
        version="18.6",
        slots=(SlotStatus(name="qluster_node3", active=role == "primary", status="reserved", held_bytes=4096),),
    )
    return replace(plain, **more)


def node(number: int, **more: object) -> NodeStatus:
    plain = NodeStatus(
        node=number,
        ip=f"10.0.0.{number}",
        api_port=8080,
        db_port=5432,
        role="node",
        leader=number == 1,
        alive=True,
        heard_ago=0.0 if number == 1 else 0.123456,
        down=False,
        match_index=42,
        version="0.1.0",
        settings_digest="5f0c",
        votes=0 if more.get("role") == "listener" else 1,
    )
    return replace(plain, **more)


def restart() -> RestartStatus:
    """A restart of the databases that has come to node 3."""
    return RestartStatus(
        begun=41, state="running", reason="", waits_for="", only="pending", primary="switchover", limit=120.0,
        at=1_790_000_000, by="anna", node=3, turns=(2, 3),
    )  # fmt: skip


def database_settings() -> DatabaseSettingsStatus:
    """One parameter of the log before that of config.yaml, one of config.yaml, one of the daemon."""
    change = ChangeStatus(
        index=40, at=1_790_000_000, by="anna", reason="", changes={"max_connections": "100"},
        before={"max_connections": None},
    )  # fmt: skip
    return DatabaseSettingsStatus(
        version=40,
        parameters={
            "max_connections": ParameterStatus(value="100", source="cluster log", file="50", index=40),
            "shared_buffers": ParameterStatus(value="32MB", source="config.yaml", file="32MB"),
            "wal_keep_size": ParameterStatus(value="1GB", source="daemon"),
        },
        history=[change],
        restart=restart(),
    )


def health(own: int = 1, **more: object) -> Health:
    """What load balancers ask of node ``own`` of the healthy cluster."""
    replica = own in (2, 3)
    known = {"streamed_ago": 0.3, "lag_bytes": 216 * (own == 3), "lag_seconds": 1.214, "lag_known_ago": 0.6123}
    kept = DatabaseHealth(
        role="replica" if replica else "primary",
        doing="idle",
        answers=True,
        answered_ago=0.25,
        **(known if replica else {}),
    )
    plain = Health(
        node=own,
        joined=True,
        uptime=3600.98765,
        turned_ago=0.0123,
        term=3,
        reign=2,
        leader=1,
        leader_at=("10.0.0.1", 8080, 5432),
        may_write=own == 1,
        covered=own == 2,
        patience=30.0,
        database=None if own == 4 else kept,
    )
    return replace(plain, **more)


def votes(own: int = 1, **more: object) -> VotesStatus:
    """Three nodes with a vote each, in one ring."""
    device = DeviceFlagsStatus(text="NR", registered=False, alive=False, cast=False, master_wins=False)
    plain = VotesStatus(
        counted=True, reason="3 of 3 expected votes are here and 2 are needed", node=own,
        ring=RingStatus(node=1, seq=26, text="1.1a"), quorate=True, settled=True, why="votes", expected_votes=3,
        highest_expected=3, total_votes=3, quorum=2, flags=["Quorate", "WaitForAll"],
        nodes=[
            VoterStatus(node=number, name=f"10.0.0.{number}", local=number == own, member=True, state="member", votes=1,
                        expected_votes=3, device=device)
            for number in (1, 2, 3)
        ],
        changes=[
            QuorumChangeStatus(quorate=True, why="votes", reason="3 of 3 expected votes are here and 2 are needed",
                               ring="1.1a", at=1_790_000_000.0),
        ],
    )  # fmt: skip
    return replace(plain, **more)


def healthy(own: int = 1) -> Status:
    """Node 1 leads and is the primary, 2 and 3 follow, 4 holds the pool; seen by node ``own``."""
    return Status(
        own=OwnStatus(
            node=own,
            ip=f"10.0.0.{own}",
            api_port=8080,
            version="0.1.0",
            consensus_role="leader" if own == 1 else "listener" if own == 4 else "follower",
            may_write=own == 1,
            lease_left=8.76543 if own == 1 else None,
            uptime=3600.98765,
            stopping=False,
            message="",
            counters={"datagrams_sent": 1200, "datagrams_received": 3600, "elections": 1},
        ),
        cluster=ClusterStatus(
            name="main",
            cluster=1,
            term=3,
            leader=1,
            quorate=True,
            can_commit=True,
            voters=3,
            votes=3,
            quorum=2,
            commit_index=42,
            applied_index=42,
            last_index=42,
            snapshot_index=30,
            reign=ReignStatus(number=2, node=1, term=3, timeline=2, position=0x3000060),
            guarantee=GuaranteeStatus(standbys=(2,), needed=1, settled=True),
            database_system_id=SYSTEM_ID,
            database_version=40,
            database_restart=replace(restart(), state="done", node=None, turns=(2, 3, 1)),
        ),
        nodes=[
            node(1, database=database("primary", 0x1_0500_0100)),
            node(2, database=database("replica", 0x1_0500_0100)),
            node(3, database=database("replica", 0x1_0500_0028)),
            node(
                4,
                role="listener",
                db_port=None,
                database=DatabaseStatus(),
                pool=PoolStatus(target="10.0.0.1:5432", reign=2),
            ),
        ],
        settings=dict(SETTINGS),
        db_config=dict(DB_CONFIG),
        database_settings=database_settings(),
        health=health(own),
        votes=votes(own),
    )


def with_tasks(own: int = 1) -> Status:
    """Node 1 runs tasks, the runner of node 3 cannot, and the pool host has none."""
    slots = (SlotsStatus(node=1, ip="10.0.0.1", total=4, used=2), SlotsStatus(node=3, ip="10.0.0.3", total=4, used=0))
    found = TasksStatus(
        enabled=own != 4, fault="the disk of tasks.dir is full" if own == 3 else "", running=2 if own == 1 else 0,
        states={"waiting": 7, "running": 2}, history=120, slots=slots if own == 1 else (),
    )  # fmt: skip
    return replace(healthy(own), tasks=found)


def paused(own: int = 1) -> Status:
    """An operator works on node 3, whose database is stopped."""
    whole = healthy(own)
    withheld = "would start the database as a standby"
    stopped = replace(database("stopped", 0x1_0500_0028), state="paused", withheld=withheld)
    nodes = [replace(each, database=stopped) if each.node == 3 else each for each in whole.nodes]
    pause = PauseStatus(active=True, reason="a new disk", node=1, since=42)
    return replace(whole, cluster=replace(whole.cluster, pause=pause), nodes=nodes)


def forced(own: int = 3) -> Status:
    """The quorum was forced on node 3, which counted on node 4."""
    whole = healthy(own)
    one = ForcedStatus(
        founding=1_790_000_067, former=1_790_000_000, node=3, index=41, term=6, counted_on=(4,),
        given_up=(LostNode(node=1, ip="10.0.0.1"), LostNode(node=2, ip="10.0.0.2")), fenced=(2,), at=1_790_000_065.25,
        by="anna", outside=(LostNode(node=2, ip="10.0.0.2"),), awaited=(4,),
    )  # fmt: skip
    return replace(whole, cluster=replace(whole.cluster, cluster=one.founding, forced=(one,)))


def pair(**more: object) -> Status:
    """Of two nodes with fencing, node 1, whose shots at node 2 have failed."""
    whole = healthy(1)
    said = "level 1: fence_ipmilan off: no route to the device (exit code 1)"
    two = TwoNodeStatus(
        in_force=True, other=2, able=True, claim="failed", heard_ago=81.2345, shots=2, attempts=2, next_in=None,
        reason=f"node 2 (10.0.0.2) is silent and could not be fenced: {said}. No shot is left after 2, and nobody "
        "serves. Start it (its host may be off)",
        last=ShotStatus(node=2, ip="10.0.0.2", success=False, said=said, ago=40.4321),
    )  # fmt: skip
    cluster = replace(whole.cluster, leader=None, quorate=False, can_commit=False, voters=2, votes=2,
                      two_node=replace(two, **more))  # fmt: skip
    nodes = [node(1, leader=False), node(2, alive=False, heard_ago=81.2345)]
    uncounted = VotesStatus(counted=False, reason="quorum.provider is none")
    return replace(whole, cluster=cluster, nodes=nodes, votes=uncounted)


def with_arbiter(own: int = 1) -> Status:
    """An arbiter is asked, and gives its vote."""
    whole = healthy(own)
    device = DeviceStatus(
        model="net", host="192.0.2.99", port=5403, algorithm="ffsplit", way="episode", state="connected",
        connected=True, tls=True, error="", ring="1.c", answer="ack", vote="ack", vote_ring="1.c", vote_ago=12.3456,
        heuristics="pass", heuristics_error="",
        episode="it has restarted since it last was in sync with the other side", counts=False,
        reason="it has restarted since it last was in sync with the other side",
    )  # fmt: skip
    return replace(whole, own=replace(whole.own, device=device))


def standby_cluster(own: int = 1) -> Status:
    """Node 1 follows an installation outside, the others follow it; nobody is written to."""
    whole = healthy(own)
    fed = database("replica", 0x1_0500_0100, upstream="198.51.100.11:5432", ahead=0x1_0500_0400)
    nodes = [replace(each, database=fed) if each.node == 1 else each for each in whole.nodes]
    followed = StandbyStatus(
        of="198.51.100.11:5432, 198.51.100.12:5432", node=1, upstream="198.51.100.11:5432", streaming=True,
        lag_bytes=768,
    )  # fmt: skip
    reign = replace(whole.cluster.reign, standby=True) if whole.cluster.reign else None
    seen = replace(health(2), node=own, covered=False, standby=True, leads_standby=own == 1)
    return replace(
        whole,
        own=replace(whole.own, may_write=False),
        cluster=replace(whole.cluster, reign=reign, guarantee=None, standby=followed),
        nodes=nodes,
        health=replace(seen, may_write=False),
    )


def leaderless(own: int = 2) -> Status:
    """Nobody is known to lead: node 1 is gone and the election is not over."""
    whole = healthy(own)
    nodes = [replace(each, leader=False, alive=each.node != 1) for each in whole.nodes]
    return replace(
        whole,
        own=replace(whole.own, consensus_role="pre-candidate", may_write=False, lease_left=None),
        cluster=replace(whole.cluster, leader=None),
        health=health(own, leader=None, leader_at=None, may_write=False),
        nodes=nodes,
    )


def unjoined() -> Status:
    """A node that was just started and hears no cluster."""
    whole = healthy(2)
    return replace(
        whole,
        own=replace(
            whole.own,
            node=None,
            consensus_role="joining",
            message=NOBODY_HEARD,
        ),
        cluster=replace(
            whole.cluster,
            cluster=None,
            term=0,
            leader=None,
            quorate=False,
            can_commit=False,
            voters=0,
            quorum=0,
            commit_index=0,
            applied_index=0,
            last_index=0,
            snapshot_index=0,
            reign=None,
            database_system_id=None,
            database_version=0,
            database_restart=None,
        ),
        nodes=[],
        settings={},
        db_config={},
        health=Health(message=NOBODY_HEARD, uptime=3600.98765),
    )


def backed_up(own: int = 1) -> Status:
    """A host that keeps backups, and an archive with a gap."""
    entries = (
        BackupEntry(label="20260130T020000Z", node="10.0.0.2", timeline=1, start=0x2000028, stop=0x2000120,
                    age=90000.123, took=61.5, size=123456789),
        BackupEntry(label="20260131T020000Z", node="10.0.0.3", timeline=2, start=0x5000028, stop=0x5000120,
                    age=3600.456, took=62.0, size=133456789),
    )  # fmt: skip
    found = BackupsStatus(
        looked_ago=12.345, count=2, newest_age=3600.456, backups=entries, archive_complete=False,
        archive_faults=("000000020000000000000006 is missing: 1 of the archive's segments; no recovery goes beyond",),
        archive_newest="000000020000000000000008", archive_reaches="000000020000000000000005", archive_age=44.444,
        waiting_files=2, waiting_bytes=33554432,
    )  # fmt: skip
    return replace(healthy(own), backups=found)
