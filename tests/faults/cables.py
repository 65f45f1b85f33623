"""Hosts as network namespaces, the cables between them, and what the cables do to packets.

Two wirings with the same hosts and addresses: a bridge in the kernel, where nftables drops packets at the
receiver's end of a cable, and a relay in user space, which can also delay, reorder and double them. Clients need
no cable: a socket made inside a host's namespace reaches that host whatever its cables do, so a leader that is cut
off from the others still meets its clients.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CLONE_NEWNET = 0x40000000
COMMAND_SECONDS = 20
"""For ip and nft: milliseconds on a quiet machine."""
RELAY = Path(__file__).with_name("relay.py")
LOSS_SCALE = 1000
"""Loss is counted in thousandths, as nftables draws it."""

_libc = ctypes.CDLL(None, use_errno=True)


def run(*words: str, text: str = "") -> str:
    """A command that must succeed."""
    done = subprocess.run(words, capture_output=True, text=True, input=text, timeout=COMMAND_SECONDS)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"
    return done.stdout


def enter(namespace: int) -> None:
    """Move the calling thread, and nothing else, into a network namespace."""
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


@dataclass(frozen=True)
class Link:
    """What happens to packets on the way from one host to another."""

    cut: bool = False
    loss: int = 0
    """Thousandths."""
    delay: tuple[float, float] = (0.0, 0.0)
    """Seconds, drawn for each packet: packets overtake each other when the two differ. Relay only."""
    twice: int = 0
    """Thousandths of the packets that arrive a second time, with a delay of its own. Relay only."""


CLEAR = Link()


def worst(links: list[Link]) -> Link:
    """Several faults on one link at the same time."""
    if not links:
        return CLEAR
    return Link(
        any(link.cut for link in links), max(link.loss for link in links), max(link.delay for link in links),
        max(link.twice for link in links),
    )  # fmt: skip


@dataclass
class Cables:
    """Hosts 1 to ``count`` in namespaces of their own, on one wire."""

    prefix: str
    net: str
    count: int
    relayed: bool = False
    _layers: list[dict[tuple[int, int], Link]] = field(default_factory=list)
    _inside: dict[int, int] = field(default_factory=dict)
    _made: list[str] = field(default_factory=list)
    _relay: subprocess.Popen[str] | None = None
    _home: int = -1
    _dropped: int = 0

    @property
    def numbers(self) -> range:
        """The hosts."""
        return range(1, self.count + 1)

    def namespace(self, number: int) -> str:
        """Name of a host's namespace."""
        return f"{self.prefix}-{number}"

    def ip(self, number: int) -> str:
        """Address of a host."""
        return f"{self.net}.{number}"

    # --- building and removing ---------------------------------------------------

    def build(self) -> None:
        """Make namespaces and cables; ``remove`` undoes it, also when this fails half-way."""
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for number in self.numbers:
            self._add(self.namespace(number))
            self._inside[number] = os.open(f"/run/netns/{self.namespace(number)}", os.O_RDONLY | os.O_CLOEXEC)
        if self.relayed:
            self._start_relay()
        else:
            self._lay_bridge()
        for number in self.numbers:
            host = ["ip", "-n", self.namespace(number)]
            run(*host, "addr", "add", f"{self.ip(number)}/24", "dev", "eth0")
            run(*host, "link", "set", "eth0", "up")

    def _add(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self._made.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def _lay_bridge(self) -> None:
        wire = f"{self.prefix}-w"
        self._add(wire)
        out = ["ip", "-n", wire]
        run(*out, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        run(*out, "link", "set", "br0", "up")
        for number in self.numbers:
            run(*out, "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0",
                "netns", self.namespace(number))  # fmt: skip
            run(*out, "link", "set", f"v{number}", "master", "br0", "up")

    def _start_relay(self) -> None:
        names = [self.namespace(number) for number in self.numbers]
        self._relay = subprocess.Popen(
            [sys.executable, str(RELAY), *names], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._relay.stdout is not None
        assert self._relay.stdout.readline().strip() == "ready", "the relay did not start"

    def remove(self) -> None:
        """Remove everything that was made. Whoever lives in the namespaces must have been ended before."""
        if self._relay is not None:
            assert self._relay.stdin is not None
            with contextlib.suppress(OSError):
                self._relay.stdin.close()
            try:
                self._relay.wait(COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                self._relay.kill()
                self._relay.wait()
            self._relay = None
        for descriptor in (*self._inside.values(), self._home):
            if descriptor >= 0:
                os.close(descriptor)
        self._inside.clear()
        self._home = -1
        for name in reversed(self._made):
            run("ip", "netns", "del", name)
        self._made.clear()

    # --- clients -----------------------------------------------------------------

    @contextlib.contextmanager
    def inside(self, number: int) -> Iterator[None]:
        """The calling thread stands on a host: for a moment, to make a socket there."""
        enter(self._inside[number])
        try:
            yield
        finally:
            enter(self._home)

    def connect(self, number: int, port: int, limit: float) -> socket.socket:
        """A connection to a host from within it."""
        with self.inside(number):
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.settimeout(limit)
        try:
            made.connect((self.ip(number), port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            made.close()
            raise
        return made

    # --- faults --------------------------------------------------------------------

    def link(self, sender: int, receiver: int) -> Link:
        """What is in force: the worst of all that was laid on this link."""
        return worst([layer[sender, receiver] for layer in self._layers if (sender, receiver) in layer])

    def lay(self, changes: dict[tuple[int, int], Link]) -> Callable[[], None]:
        """Put something in force beside what is there already; how to take this, and only this, away again."""
        assert self.relayed or not any(one.delay[1] or one.twice for one in changes.values()), "the bridge only drops"
        self._layers.append(changes)
        self._apply(changes)

        def lift() -> None:
            if any(layer is changes for layer in self._layers):
                self._layers = [layer for layer in self._layers if layer is not changes]
                self._apply(changes)

        return lift

    def _apply(self, changes: dict[tuple[int, int], Link]) -> None:
        if self._relay is not None:
            self._tell_relay()
        else:
            for receiver in {receiver for _, receiver in changes}:
                self._write_rules(receiver)

    def isolation(self, number: int, *, hears: bool = False, speaks: bool = False) -> dict[tuple[int, int], Link]:
        """A host that hears nobody, or that nobody hears, or both."""
        others = [other for other in self.numbers if other != number]
        changes = {} if hears else {(other, number): Link(cut=True) for other in others}
        return changes | ({} if speaks else {(number, other): Link(cut=True) for other in others})

    def sides(self, *sides: set[int]) -> dict[tuple[int, int], Link]:
        """Nothing passes between the sides."""
        return {
            (one, other): Link(cut=True) for side in sides for one in side
            for other in self.numbers if other not in side
        }  # fmt: skip

    def all_links(self, link: Link) -> dict[tuple[int, int], Link]:
        """The same on all links."""
        return {(one, other): link for one in self.numbers for other in self.numbers if one != other}

    def heal(self) -> None:
        """All links are clear."""
        if self._layers:
            self._layers = []
            self._apply(self.all_links(CLEAR))

    def dropped(self) -> int:
        """Packets that faults have taken until now."""
        if self._relay is not None:
            return int(self._ask_relay({"ask": "counts"})["dropped"])
        return self._dropped + sum(self._counted(number) for number in self.numbers)

    # --- bridge ---------------------------------------------------------------------

    def _write_rules(self, receiver: int) -> None:
        self._dropped += self._counted(receiver)
        rules = []
        for sender in self.numbers:
            link = self.link(sender, receiver)
            if link.cut:
                rules.append(f"ip saddr {self.ip(sender)} counter drop")
            elif link.loss:
                chance = f"numgen random mod {LOSS_SCALE} < {link.loss}"
                rules.append(f"ip saddr {self.ip(sender)} {chance} counter drop")
        head = 'type filter hook ingress device "eth0" priority 0; policy accept;'
        table = "table netdev fault"
        text = f"add {table}\ndelete {table}\n"
        if rules:
            text += f"{table} {{ chain arrives {{ {head}\n" + "\n".join(rules) + "\n}\n}\n"
        run("ip", "netns", "exec", self.namespace(receiver), "nft", "-f", "-", text=text)

    def _counted(self, receiver: int) -> int:
        shown = json.loads(run("ip", "netns", "exec", self.namespace(receiver), "nft", "-j", "list", "ruleset"))
        rules = [one["rule"]["expr"] for one in shown["nftables"] if "rule" in one]
        return sum(part["counter"]["packets"] for rule in rules for part in rule if "counter" in part)

    # --- relay ----------------------------------------------------------------------

    def _tell_relay(self) -> None:
        pairs = {pair for layer in self._layers for pair in layer}
        found = {pair: self.link(*pair) for pair in pairs}
        links = {
            f"{sender}-{receiver}": [link.cut, link.loss, *link.delay, link.twice]
            for (sender, receiver), link in found.items()
        }
        self._ask_relay({"ask": "links", "links": links})

    def _ask_relay(self, question: dict[str, object]) -> dict[str, object]:
        assert self._relay is not None and self._relay.stdin is not None and self._relay.stdout is not None
        self._relay.stdin.write(json.dumps(question) + "\n")
        self._relay.stdin.flush()
        answer = self._relay.stdout.readline()
        assert answer, "the relay has ended"
        return json.loads(answer)  # type: ignore[no-any-return]


def obstacle() -> str:
    """Why there can be no such hosts here, "" when there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = Cables(f"fp{os.getpid()}", "10.77.0", 1)
    try:
        probe.build()
        probe.lay({(1, 1): Link(loss=1)})
    except (OSError, AssertionError) as error:
        return f"no hosts of their own: {error}"
    finally:
        probe.remove()
    return ""
