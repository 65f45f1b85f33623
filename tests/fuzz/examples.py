"""One well-formed example of everything that comes from outside: the root of the walks and of the corpus.

Must not know what is done with them. A kind of message without an example fails a test.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.cluster import commands, database_settings
from qluster.cluster import messages as telling
from qluster.cluster.state import State
from qluster.cluster.state import encode as encode_state
from qluster.consensus import messages as agreeing
from qluster.consensus.members import Member, Members
from qluster.events import Entry, Snapshot
from qluster.ring import messages as ringing
from qluster.status import DatabaseStatus, PoolStatus, SlotStatus
from qluster.tasks import bodies as tasks
from qluster.tasks.spec import Command, Need, Retry, Script, Spec, Sql, Target
from qluster.transport.fragments import Want
from qluster.transport.probe import Ask, Heard, Reply
from qluster.transport.repair import Request
from qluster.votes.information import Change, Kind, NodeInformation, Ring

FOUNDING = 1_700_000_000
SYSTEM_ID = 7_300_000_000_000_000_001

MEMBERS = Members(
    tuple(
        Member(number, 0xAAAA_0000 + number, f"10.0.0.{number}", 8080, 7400, 5432, voter=number < 4)
        for number in range(1, 5)
    ),
    configured=3,
)

SPEC = Spec(Command(("/usr/bin/report", "{day}"), (("LANG", "C"),)), "report", resources=(("gpu", 1),), group="g")

COMMANDS: tuple[commands.Body, ...] = (
    commands.Founded("fuzz", {"cluster.node-timeout": "30s", "udp.max-log-size": "64000"}),
    commands.SettingsChanged({"cluster.node-timeout": "20s"}),
    commands.Reign(3, 1, 7, 2, 0x1_0000_0000, SYSTEM_ID, 512),
    commands.NodeExpected("10.0.0.9", "listener"),
    commands.NodeMarked(2, True),
    commands.Guaranteed(2, (commands.Guarantee(2, 1, (2, 3), 1), commands.Guarantee(2, 1, (), 0))),
    database_settings.DatabaseConfigured(
        {"work_mem": "8MB", "max_connections": "200"}, 0, 1_790_000_000, "anna", "", database_settings.RestartPlan()
    ),
    database_settings.RestartTurn(7, 2, True),
    database_settings.RestartEnded(7, "node 2 did not come back"),
    database_settings.RestartWanted(database_settings.RestartPlan("all", "in-place", 60.0), 1_790_000_000, "anna"),
    commands.LossAccepted(3),
    commands.LossMeasured(3, 4096),
    commands.Paused("a switch is exchanged"),
    commands.Resumed(2),
    commands.Bound(1, 6),
    commands.FencingBegun(1, 4, 2, 7, 1e9),
    commands.FencingEnded(1, 50, True, "fence_ipmilan: switched off", 1e9),
    commands.FencingConfirmed(1, 4, 1e9),
    commands.Forced(1_800_000_002, FOUNDING, 2, 50, 7, 3, ((1, "10.0.0.1"), (3, "10.0.0.3")), (4,), (3,), 1.8e9),
    commands.ValueWritten("backup.last:host", b"\0\xff value", 0),
    commands.SwitchoverPlanned(2, 1_900_000_000.0, 5.0),
    commands.SwitchoverBegun(2, 3, 5.0, 0, 1_800_000_000.0),
    commands.Yielded(3, 2, 2, 0x1_0000_0000),
    commands.SwitchoverEnded(9, 8, "node 2 did not take over", 1_800_000_001.0),
    tasks.TasksSubmitted(1e9, "me", (
        tasks.Submission(SPEC, "a-key"),
        tasks.Submission(Spec(Sql("select :'a'", variables=(("a", "1"),)), needs=(Need(-1),), retry=Retry(2))),
        tasks.Submission(Spec(Script("print(1)"), target=Target("leader"), once=True)),
    )),
    tasks.TasksMoved(1e9, (
        tasks.Assigned(1, 2), tasks.Begun(1, 20, 1e9), tasks.Ended(1, 20, tasks.Verdict.DONE, 1e9),
        tasks.Held(2, "no node can run it"), tasks.Failed(3, "no node could"), tasks.Expired(4),
        tasks.Spread(5, (1, 2)), tasks.Gone(6, 7),
    )),
    tasks.TaskCancelled(2, 1e9, "me", "enough"),
    tasks.TemplateWritten("t", tasks.Template(SPEC, (("day", None, "[0-9]+"),), "a report")),
    tasks.ScheduleWritten("s", tasks.Schedule("0 3 * * *", tasks.Submission(SPEC), "Europe/Berlin"), 1e9),
    tasks.ScheduleFired("s", 1e9 + 60, 1e9 + 61),
    tasks.NodeDrained(2, True, 1e9, "me", 1e9 + 600),
    tasks.TasksForgotten(1),
)

ENTRIES = [
    Entry(13, 7, "noop", (12).to_bytes(8, "big")),
    Entry(14, 7, "members", MEMBERS.encode()),
    Entry(15, 7, "command", commands.encode(COMMANDS[1], "key-1")),
]

AGREEING: tuple[agreeing.AnyMessage, ...] = (
    agreeing.PreVote(FOUNDING, 1, 7, 12, 6, 11, 6),
    agreeing.PreVoteReply(FOUNDING, 2, 6, 7, True, 11, 6),
    agreeing.Vote(FOUNDING, 1, 7, 12, 6, True),
    agreeing.VoteReply(FOUNDING, 2, 7, False, 3),
    agreeing.Append(FOUNDING, 1, 7, 3, 30.0, 12, 6, 11, agreeing.records_of(ENTRIES)),
    agreeing.AppendReply(FOUNDING, 2, 7, 3, 13, (4, 5)),
    agreeing.AppendRefusal(FOUNDING, 2, 7, 3, 12, 9, 5),
    agreeing.SnapshotOffer(FOUNDING, 1, 7, 400),
    agreeing.LeaderQuery(FOUNDING, 3, 7),
    agreeing.TimeoutNow(FOUNDING, 1, 7),
    agreeing.Goodbye(FOUNDING, 1, 7, 2),
    agreeing.Expelled(FOUNDING, 1, 7, 40, 3),
    agreeing.SyncQuery(FOUNDING, 3, 7, 5, (1, 8)),
    agreeing.SyncReply(FOUNDING, 1, 7, 5, (1, 8), 40, 6),
)

DATABASE = DatabaseStatus(
    role="replica", state="idle", system_id=SYSTEM_ID, timeline=2, position=4096, replayed=4000, streaming=True,
    upstream="10.0.0.1:5432", version="18.6",
    slots=(SlotStatus(name="qluster_node3", active=False, status="reserved", held_bytes=4096),),
)  # fmt: skip

TELLING: tuple[telling.Message, ...] = (
    telling.Hello(
        FOUNDING, 2, 0xAAAA_0002, "10.0.0.2", 7400, 8080, 5432, "node", False, "0.1.0", {"cluster.node-timeout": "30s"},
        votes=3, counting=telling.COUNTING,
    ),
    telling.Present(FOUNDING, 2, 1),
    telling.Welcome(FOUNDING, 1, 0xAAAA_0004, 4),
    telling.Refusal(FOUNDING, 1, 0xAAAA_0004, "the cluster is full"),
    telling.Report(FOUNDING, 2, "0.1.0", "5f0c", "", 3, False, DATABASE, PoolStatus(target="10.0.0.1:5432", reign=3)),
    telling.PositionQuery(FOUNDING, 1, 7),
    telling.Leaving(FOUNDING, 2),
    telling.PositionReply(FOUNDING, 2, 7, SYSTEM_ID, 2, 4096, True, "", 3, (2, 8192)),
    telling.Present(FOUNDING, 2, 1, (FOUNDING - 60, FOUNDING - 5)),
    telling.Working(FOUNDING, 2, 12.5, 40, 4, {"gpu": 1}, {"disk": "ssd"}, "", (
        tasks.Begun(1, 30, 1e9),
        tasks.Ended(2, 31, tasks.Verdict.FAILED, 1e9, "exit code 3", tasks.Result(3, 0, 0.5, 4096)),
    )),
    telling.Granted(FOUNDING, 1, 2, 12.5, 40),
)

RINGING: tuple[ringing.Message, ...] = (
    ringing.Beat(FOUNDING, 2, 3, 40, 9, (1, 9), (1, 9)),
    ringing.Beat(FOUNDING, 2, 3, 41, 9, (1, 9), (1, 9), (1, 2, 3), (1, 2), True),
    ringing.Proposal(FOUNDING, 2, (2, 10), (2, 3)),
    ringing.Telling(FOUNDING, 2, NodeInformation(Ring(1, 9), 2, 1, 3, 0, 1, "Qdevice", True, True)),
    ringing.Telling(FOUNDING, 2, None, Change(Ring(1, 9), Kind.VOTES, 3, 2)),
)

REQUEST = Request(7, 1, [Want(False, 5, 0), Want(True, 6, 0b1011)])
"""A repair request, as the transport sends it."""


ASK = Ask(7, 1, True, bytes(40))
ANSWER = Reply(7, 1, 90, True, (Heard("10.0.0.2", 7400, 0.5, None, False), Heard("10.0.0.3", 7400, None, 1.5, True)))
"""What ``check-network`` asks and is answered."""


def state() -> State:
    """An applied state with something of everything."""
    found = State()
    for index, body in enumerate(COMMANDS, start=1):
        found.apply(Entry(index, 1, "command", commands.encode(body, f"key-{index}")))
    found.note_members([member.node for member in MEMBERS])
    return found


def snapshot() -> Snapshot:
    """A snapshot of that state."""
    applied = state()
    return Snapshot(applied.applied, 7, MEMBERS.encode(), encode_state(applied))
