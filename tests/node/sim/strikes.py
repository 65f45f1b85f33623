"""What happens to a cluster: one function for each fault, operation and procedure, with its weight."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable

from qluster.clients import (
    LeaderChangeRequested,
    NodeAddRequested,
    NodePromoteRequested,
    NodeRemoveRequested,
    PauseRequested,
    PlanDropRequested,
    ResumeRequested,
)
from qluster.consensus.electorate import Electorate
from qluster.events import StopRequested
from qluster.switching import Phase

from sim.choosing import one_of, running, start_again
from sim.database import SimDatabase
from sim.losing import lose_what_was_shown, lose_who_confirmed
from sim.world import Host, World, configuration

Strike = Callable[[World], None]


# --- hosts ---------------------------------------------------------------------------


def crash(world: World) -> None:
    """A daemon dies, its database with it."""
    host = one_of(world, running(world))
    if host is not None:
        host.crash()


def crash_all(world: World) -> None:
    """The power is gone everywhere."""
    for host in running(world):
        host.crash(power=True)


def kill_database(world: World) -> None:
    """A server dies, the daemon lives."""
    host = one_of(world, [host for host in running(world, database=True) if host.database and host.database.running])
    if host is not None and host.database is not None:
        world.tell(f"{host.name} its database is killed")
        host.database.kill()
        host.look()


def freeze(world: World) -> None:
    """A daemon, or a whole host, stands still."""
    host = one_of(world, running(world))
    if host is not None:
        whole = world.random.random() < 0.4
        seconds = world.random.choice([0.5, 1.5, 3.0, 6.0])
        world.tell(f"{host.name} {'host' if whole else 'daemon'} stands still for {seconds} s")
        world.disturbed()
        host.freeze(seconds, whole=whole)


def stop_cleanly(world: World) -> None:
    """The service is stopped, and started again a little later."""
    host = one_of(world, running(world))
    if host is not None:
        world.tell(f"{host.name} is asked to stop")
        host.give(StopRequested())
        world.at(world.now + world.random.uniform(3.0, 8.0), lambda: start_again(host))


def lag(world: World) -> None:
    """A replica falls behind, or keeps up again."""
    host = world.random.choice([host for host in world.hosts.values() if host.database is not None])
    host.lag = world.random.choice([1.0, 0.2, 0.02])
    world.tell(f"{host.name} streams at {host.lag}")


# --- links -----------------------------------------------------------------------------


def cut_host(world: World) -> None:
    """A host is alone."""
    host = one_of(world, list(world.hosts.values()))
    if host is not None:
        world.tell(f"{host.name} is cut off")
        world.disturbed()
        world.network.isolate(host)


def cut_one_way(world: World) -> None:
    """One host does not hear another."""
    if len(world.hosts) > 1:
        one, other = world.random.sample(list(world.hosts.values()), 2)
        world.tell(f"{one.name} is not heard by {other.name}")
        world.disturbed()
        world.network.cut.add((one.ip, other.ip))


def cut_deaf(world: World) -> None:
    """A host is heard by all and hears nobody."""
    host = one_of(world, list(world.hosts.values()))
    if host is not None:
        world.tell(f"{host.name} hears nobody")
        world.disturbed()
        world.network.cut |= {(other, host.ip) for other in world.hosts}


def split(world: World) -> None:
    """Two sides."""
    hosts = list(world.hosts.values())
    side = world.random.sample(hosts, max(1, len(hosts) // 2))
    world.tell(f"split: {' '.join(host.name for host in side)} from the rest")
    world.disturbed()
    world.network.split(side)


def mend(world: World) -> None:
    """All links are well."""
    world.tell("all links mended")
    world.disturbed()
    world.network.cut.clear()


# --- operators --------------------------------------------------------------------------


def hand_over(world: World) -> None:
    """An operator moves the primary."""
    first = world.leader()
    if first is not None and first.node is not None and first.node.qraft is not None:
        target = world.random.choice(sorted(first.node.qraft.members.voters))
        world.tell(f"node {target} is asked to lead")
        world.clients.ask(first, LeaderChangeRequested(world.clients.ticket(), "", target))


def hand_over_later(world: World) -> None:
    """An operator schedules a switchover, or cancels the one that is scheduled; some name nobody."""
    first = world.leader()
    if first is None or first.node is None or first.node.qraft is None:
        return
    clients, ticket = world.clients, world.clients.ticket()
    if world.random.random() < 0.2:
        clients.ask(first, PlanDropRequested(ticket, ""))
        return
    target = world.random.choice([None, *sorted(first.node.qraft.members.voters)])
    at = first.node.wall(first.clock()) + world.random.uniform(0.5, 10.0)
    world.tell(f"node {target or 'whoever is best'} is to lead later")
    clients.ask(first, LeaderChangeRequested(ticket, "", target, at, world.random.random() < 0.3, 2.0))


def strike_a_switchover(world: World) -> None:
    """A switchover is begun, and struck in one of its phases."""
    first = world.leader()
    if first is None or first.node is None:
        return
    world.clients.ask(first, LeaderChangeRequested(world.clients.ticket(), "", None))
    node, phase = first.node, world.random.choice(list(Phase)[:-3])
    if node is None:
        return  # it died at a seam of the answer
    world.run(6.0, lambda: (one := node.governing.handing._one) is not None and one.phase == phase, every=0.0)
    one = node.governing.handing._one
    if one is None or one.phase != phase or first.node is not node:
        return
    world.count(f"switchover struck in {phase}")
    target = world.host_of(node.cluster, one.wish.node)
    pools = [host for host in world.hosts.values() if host.database is None]
    struck = world.random.choice([first, first, target, *pools])
    how = world.random.choice(["crash", "cut", "freeze", "database"])
    if struck is None or struck.node is None:
        return
    if how == "crash":
        struck.crash()
    elif how == "cut":
        world.disturbed()
        world.network.isolate(struck)
    elif how == "database" and struck.database is not None:
        struck.database.kill()
        struck.look()
    else:
        world.disturbed()
        struck.freeze(world.random.choice([0.5, 3.0, 6.0]), whole=world.random.random() < 0.5)


def hand_over_twice(world: World) -> None:
    """Two operators, two targets."""
    hand_over(world)
    world.run(world.random.uniform(0.0, 0.5))
    hand_over(world)


def pause(world: World) -> None:
    """An operator pauses the cluster."""
    first = world.leader()
    if first is not None:
        world.tell("the cluster is to be paused")
        world.clients.ask(first, PauseRequested(world.clients.ticket(), "", "work on the network"))


def resume_unheard(world: World) -> None:
    """The network of the primary is worked on in a pause, and is not well yet when the pause ends."""
    pause(world)
    world.run(world.random.uniform(0.1, 0.5))
    primary = world.primary()
    if primary is None:
        return
    world.tell(f"{primary.name}, the primary of the pause, is cut off")
    world.disturbed()
    world.network.isolate(primary)
    world.run(8.0, lambda: world.leader() not in (None, primary))
    resume(world)
    world.run(world.random.uniform(0.5, 6.0))


def resume(world: World) -> None:
    """The operator ends the pause, which not everybody may hear."""
    first = world.leader()
    if first is not None:
        world.tell("the cluster is to be resumed")
        world.clients.ask(first, ResumeRequested(world.clients.ticket(), "", None))


def start_by_hand(world: World) -> None:
    """An operator starts a database that the pause leaves stopped."""
    for host in running(world, database=True):
        assert host.node is not None and host.database is not None
        stopped = host.database.directory == "initialised" and not host.database.running
        pause = host.node.state.pause
        mine = pause.of(host.node.me) and host.database.last_reign == pause_reign(host)
        if stopped and pause.active and len(host.jobs) == 0 and (mine or host.database.standby):
            world.tell(f"{host.name} its database is started by hand")
            host.database.running, host.database.in_recovery = True, host.database.standby
            host.look()


def pause_reign(host: Host) -> int:
    """The reign that this host knows of."""
    assert host.node is not None and host.node.state.reign is not None
    return host.node.state.reign.number


def end_pause(world: World) -> None:
    """Sees to it that no pause is left: resumes, and gives up a node that does not exist any more."""
    first = world.leader()
    if first is None or first.node is None:
        return
    left = first.node.state.pause
    gone = left.loose and world.host_of(first.node.cluster, left.loose) is None
    if left.active or gone:
        abandoned = left.loose if gone else None
        world.tell(f"the pause is ended, abandoned: {abandoned}")
        world.clients.ask(first, ResumeRequested(world.clients.ticket(), "", abandoned))


def remove(world: World) -> None:
    """A node is removed from the cluster; some are promoted or expected besides."""
    first = world.leader()
    if first is None or first.node is None or first.node.qraft is None:
        return
    members, clients = first.node.qraft.members, world.clients
    if len(members.voters) < 3:
        return
    node = world.random.choice(sorted(member.node for member in members))
    world.tell(f"node {node} is to be removed")
    clients.ask(first, NodeRemoveRequested(clients.ticket(), "", node))
    if world.random.random() < 0.5:
        clients.ask(first, NodeRemoveRequested(clients.ticket(), "", world.random.choice(sorted(members.voters))))
    if world.random.random() < 0.3:
        clients.ask(first, NodePromoteRequested(clients.ticket(), "", node, None, None))
    if world.random.random() < 0.3:
        clients.ask(first, NodeAddRequested(clients.ticket(), f"add-{node}", f"10.0.0.{node}", "node"))


def repair(world: World) -> None:
    """An operator sees to hosts that left for good, as their messages say."""
    for host in world.hosts.values():
        if host.node is None and host.left:
            repair_host(world, host)


def repair_host(world: World, host: Host) -> None:
    """Do what the host's last message says."""
    if "was removed from the cluster" in host.left:
        host.disk.set_aside(world.random.getrandbits(63))
    elif "are different" in host.left or "here and" in host.left:
        host.config = host.proper
    else:
        raise AssertionError(f"{host.name} left for good: {host.left}")
    host.left = ""
    host.start()


def wrong_settings(world: World) -> None:
    """A host is started with a value that differs from the others'."""
    number = world.random.randint(2, max(2, len(world.hosts)))
    host = world.hosts.get(f"10.0.0.{number}")
    if host is None or host.node is None:
        return
    host.crash(held=True)
    counting = world.electing.text if world.electing is not None else ""
    databases = sum(other.database is not None for other in world.hosts.values()) if world.fencing else 0
    host.config = configuration(
        number, host.database is None, "300ms", world.synchronous, votes=host.config.votes, counting=counting,
        fencing=world.fencing, databases=databases,
    )
    host.start()


# --- what is lost -----------------------------------------------------------------------------


def _calm(world: World, host: Host) -> bool:
    """Losing one node's memory is survived where the others can elect and commit without it: see to that first."""
    mend(world)
    repair(world)
    for other in world.hosts.values():
        if other.node is None and not other.left:
            other.start()
    world.run(SURVEY_SECONDS, lambda: _survives(world, host))
    return _survives(world, host)


def _survives(world: World, host: Host) -> bool:
    first = world.leader()
    if first is None or first.node is None or first.node.qraft is None or host.node is None or host.frozen:
        return False
    qraft = first.node.qraft
    if len(qraft.members.voters) < 3 or qraft.members_index > qraft.commit_index:
        return False
    others = [other for other in world.hosts.values() if other is not host]
    numbers = qraft.members.voters - {host.node.me}
    if not (qraft.commits(numbers) and Electorate.of(qraft.members).elects(numbers)):
        return False
    return all(
        other.node is not None and not other.frozen and other.node.cluster == first.node.cluster
        and other.node.state.applied + 5 >= first.node.state.applied for other in others
    )  # fmt: skip


def lose_state(world: World) -> None:
    """A state directory is lost: with ``add_node`` (a new disk) or without."""
    host = one_of(world, running(world))
    if host is None or not _calm(world, host):
        return
    world.count("state lost on the founder" if host.ip == host.config.cluster.founder else "state lost", fault=True)
    host.crash(held=True, power=True)
    invited = world.random.random() < 0.5
    world.lose_state(host)
    host.disk.invited = invited
    if world.random.random() < 0.5:
        # Alone, with a database: the founder too must wait for its cluster instead of founding another one.
        _isolate_for_a_while(world, host)
    host.start()
    world.run(SURVEY_SECONDS)


def _isolate_for_a_while(world: World, host: Host) -> None:
    world.disturbed()
    world.network.isolate(host)
    world.at(world.now + world.random.uniform(3.0, 10.0), lambda: mend(world))


SURVEY_SECONDS = 6.0
"""Time in which a cluster admits a node that lost its memory; two such losses at once are too many."""


def wipe_disk(world: World) -> None:
    """A replica's database directory is lost; or its whole disk, with only ``add_node`` kept."""
    founder = world.random.random() < 0.5
    host = world.hosts["10.0.0.1"] if founder else one_of(world, running(world, database=True))
    if host is None or not _calm(world, host) or world.primary() in (None, host):
        return
    world.count("database directory lost")
    host.crash(held=True, power=True)
    assert host.database is not None
    host.database = SimDatabase(served=host.database.served)
    if world.random.random() < 0.5:
        world.lose_state(host)
        host.disk.invited = True
        if world.random.random() < 0.5:
            _isolate_for_a_while(world, host)
    host.start()
    world.run(SURVEY_SECONDS)


def remove_add_node(world: World) -> None:
    """The first half of a founding anew, done while the cluster runs: it must not found."""
    host = world.hosts["10.0.0.1"]
    if not _calm(world, host) or (world.synchronous != "off" and world.primary() in (None, host)):
        return  # the only copy of what was acknowledged may lie here
    world.count("add_node removed from a running cluster")
    host.crash(held=True, power=True)
    host.database = SimDatabase(served=host.database.served)
    host.disk.invited = False
    host.start()
    world.run(SURVEY_SECONDS)


STRIKES: list[tuple[str, float, Strike]] = [
    ("crash", 4, crash),
    ("crash of all", 1, crash_all),
    ("database killed", 3, kill_database),
    ("standing still", 4, freeze),
    ("host cut off", 4, cut_host),
    ("one-way cut", 3, cut_one_way),
    ("deaf host", 2, cut_deaf),
    ("split", 2, split),
    ("links mended", 8, mend),
    ("clean stop", 2, stop_cleanly),
    ("switchover", 4, hand_over),
    ("two switchovers", 1, hand_over_twice),
    ("switchover scheduled", 2, hand_over_later),
    ("switchover struck", 4, strike_a_switchover),
    ("pause", 2, pause),
    ("resume", 3, resume),
    ("resume unheard", 1, resume_unheard),
    ("started by hand", 1, start_by_hand),
    ("replica lags", 3, lag),
    ("all who confirmed are lost", 2, lose_who_confirmed),
    ("what was shown is lost", 2, lose_what_was_shown),
    ("node removed", 1.5, remove),
    ("repair", 4, repair),
    ("wrong settings", 0.5, wrong_settings),
    ("state lost", 2, lose_state),
    ("disk lost", 1.5, wipe_disk),
    ("add_node removed", 0.7, remove_add_node),
]
