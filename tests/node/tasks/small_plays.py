"""What happens in the small worlds of tasks, and in which order: plays, sieges and nights, each made by one seed."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

from tasks.small_world import SmallHost, SmallWorld


def crash(world: SmallWorld, host: SmallHost) -> None:
    """Its daemon is gone for a while."""
    if host.node is not None:
        host.crash()


def power(world: SmallWorld, host: SmallHost) -> None:
    """The whole host is gone for a while."""
    if host.node is not None:
        host.crash(power=True)


def freeze(world: SmallWorld, host: SmallHost) -> None:
    """Its daemon, or all of it, stands still; its clocks go on."""
    if host.node is not None:
        host.freeze(world.random.choice([0.5, 3.0, 9.5, 13.0, 25.0]), whole=world.random.random() < 0.6)


def sleep(world: SmallWorld, host: SmallHost) -> None:
    """All of it stands still, and the clock of its runner as well; sometimes it hears nobody when it wakes."""
    if host.node is not None:
        seconds = world.random.choice([0.5, 3.0, 9.5, 25.0])
        host.freeze(seconds, whole=True, asleep=True)
        if world.random.random() < 0.4:
            world.cut.add(host.ip)
            world.at(world.now + seconds + 8.0, lambda: world.cut.discard(host.ip))


def clock(world: SmallWorld, host: SmallHost) -> None:
    """Somebody sets its wall clock, wrongly or rightly."""
    if host.node is not None:
        host.wrong = world.random.choice([0.0, 0.0, -900.0, -3.0, 3.0, 900.0])
        host.node.set_clock()


def cut(world: SmallWorld, host: SmallHost) -> None:
    """It hears nobody; often for about as long as a lease."""
    world.cut.add(host.ip)
    if world.random.random() < 0.5:
        world.at(world.now + world.random.uniform(7.0, 15.0), lambda: world.cut.discard(host.ip))


def mend(world: SmallWorld, host: SmallHost) -> None:
    """All hear each other."""
    world.cut.clear()


def move(world: SmallWorld, host: SmallHost) -> None:
    """Leadership is handed over in order."""
    if len(able := world.voters(host)) > 1 and host in able and world.head is not None:
        world.contact = -inf
        world.elect(host)


def lost(world: SmallWorld, host: SmallHost) -> None:
    """Daemon and runner lose each other."""
    if host.runner is not None:
        host.runner.disconnect(world.random.choice([0.01, 2.0, 15.0]))


def runner(world: SmallWorld, host: SmallHost) -> None:
    """The runner dies, and is back soon or late."""
    if host.runner is not None and host.node is not None:
        host.runner.die(world.random.choice([0.1, 5.0, 5.0, 60.0]))


def stop(world: SmallWorld, host: SmallHost) -> None:
    """The runner is stopped in order, and started again."""
    if host.runner is not None and host.node is not None:
        host.runner.stop(world.random.choice([0.1, 5.0, 60.0]))


def wiped(world: SmallWorld, host: SmallHost) -> None:
    """The runner loses what it had kept of its runs, with the runs; sometimes its daemon ends with it."""
    if host.runner is not None and host.node is not None:
        host.runner.wiped()
        if world.random.random() < 0.5:
            host.crash(power=True)


def full(world: SmallWorld, host: SmallHost) -> None:
    """The runner can begin nothing for a while."""
    if host.runner is not None:
        host.runner.fail(world.random.uniform(0.1, 6.0))


def flap(world: SmallWorld, host: SmallHost) -> None:
    """The same, and the line breaks meanwhile."""
    if host.runner is not None:
        host.runner.fail(world.random.uniform(0.5, 3.0))
        world.run(world.random.uniform(0.0, 1.0))
        host.runner.disconnect(0.01)


def another(world: SmallWorld, host: SmallHost) -> None:
    """What runs here is another founding's, whose tasks and claims have the same numbers."""
    if host.runner is not None and host.node is not None:
        live, end = host.node.state.tasks.live.values(), world.length
        now = [(task.id, task.fence) for task in live if task.claimed]
        soon = [(task.id, end + more) for task in live if task.pending for more in range(1, 12)]
        host.runner.was_anothers(now + soon[:60])


def stall(world: SmallWorld, host: SmallHost) -> None:
    """It is given claims that it cannot begin, is not heard until about the end of its leave, and reads late."""
    if host.runner is not None and host is not world.head:
        host.runner.disconnect(world.random.uniform(10.0, 14.0))
        world.run(world.random.uniform(0.2, 2.4))
        world.cut.add(host.ip)
        world.at(world.now + world.random.uniform(10.5, 13.5), lambda: world.cut.discard(host.ip))


STRIKES = (
    crash, power, freeze, cut, cut, mend, lost, runner, full, move, stall, flap, sleep, stop, clock, another, wiped,
)  # fmt: skip


def strike(world: SmallWorld) -> None:
    """Something happens."""
    host = world.random.choice(list(world.hosts.values()))
    if world.head is not None and world.random.random() < 0.3:
        host = world.head
    one = world.random.choice(STRIKES)
    world.count(one.__name__)
    world.tell(f"{one.__name__} {host.name}")
    one(world, host)


def siege(seed: int, world: SmallWorld | None = None) -> SmallWorld:
    """One seed of nothing but stalls, in a cluster that is well: claims end without a word, again and again."""
    world = world or SmallWorld(seed)
    world.loss, world.late, world.behind, world.slow = 0.0, 0.0, 3.0, world.random.choice([0.05, 0.6])
    world.run(15.0, lambda: world.leader() is not None and world.leader().node.leads)  # type: ignore[union-attr]
    world.tasks.ask_always()
    for _ in range(8):
        stall(world, world.random.choice(list(world.hosts.values())))
        world.run(16.0)
    return _end(world)


def nights(seed: int, world: SmallWorld | None = None) -> SmallWorld:
    """One seed of hosts that sleep until others have begun what they had, in a cluster that is well."""
    world = world or SmallWorld(seed)
    world.loss, world.late, world.slow = 0.0, 0.0, 0.001
    world.run(15.0, lambda: world.leader() is not None and world.leader().node.leads)  # type: ignore[union-attr]
    world.tasks.ask_always()
    for _ in range(6):
        world.run(world.random.uniform(4.0, 12.0))
        sleeper = world.random.choice([host for host in world.hosts.values() if host is not world.head])
        sleeper.freeze(world.random.uniform(12.2, 16.0), whole=True, asleep=True)
        world.run(18.0)
    return _end(world)


def play(seed: int, world: SmallWorld | None = None) -> SmallWorld:
    """One seed: faults for a while, then quiet, in which all tasks must end."""
    world = world or SmallWorld(seed)
    world.run(15.0, lambda: world.leader() is not None and world.leader().node.leads)  # type: ignore[union-attr]
    world.tasks.ask_always()
    end, pause = world.now + world.random.uniform(20.0, 60.0), world.random.choice([1.0, 4.0, 10.0])
    while world.now < end:
        strike(world)
        world.run(world.random.uniform(0.05, pause))
    return _end(world)


def _end(world: SmallWorld) -> SmallWorld:
    world.cut.clear()
    world.loss = world.late = 0.0
    for host in world.hosts.values():
        host.wrong = 0.0
        if host.node is not None:
            host.node.set_clock()
    world.tell("faults end")
    world.run(30.0, lambda: all(host.node is not None and not host.frozen for host in world.hosts.values()))
    world.tasks.at_the_end()
    return world
