"""Decides whether a span of time may be jumped over: only when everybody is again as one round before.

Must not know networks or faults. Looks at every field of every object of a participant, so that a new field is
seen without being named here; what is left out is listed below, with the reason.

Between two heartbeats of a cluster that nothing disturbs, nothing but time changes. Let all participants at one
moment be equal to all participants at an earlier moment, where every time in them is taken relative to "now",
and every round relative to the newest one; let no message be under way and chance give the same draws. Then the
future from here is the future from there, shifted; so it may be shifted by any number of such spans, up to the
next thing that comes from outside. Everything happens at multiples of 2^-16 s, so the sums are exact in floating
point; a moment between two of these is as good as the later one, since it is only compared with them.

A time that lies longer ago than every duration that the code compares it with is "long ago": further ageing
changes no comparison, so it stands still while the others move.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from math import ceil, inf
from typing import Any

from qluster.consensus.journal import Journal
from qluster.consensus.lease import ROUNDS_MAX, Round, Rounds
from qluster.consensus.members import Members
from qluster.consensus.membership import Configuration, Membership
from qluster.consensus.messages import Message
from qluster.consensus.office import STEADY_ANSWERS
from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft
from qluster.consensus.settings import Settings
from qluster.consensus.standing import Standing
from qluster.events import Snapshot

LONG_AGO = 65.0
"""Seconds: more than the longest setting, remove-interval; no comparison in the code reaches further back."""

LOOKED_BACK = {"moved_at": 12.0, "probed_at": 12.0}
"""Fields of which the code asks for less: who owes an answer is asked again after heartbeat-interval at most."""

GRAIN = 1 / 65536

DURATIONS = {"promise", "limit"}
"""Fields that are lengths of time, not moments."""

BY_IDENTITY = (Settings, Members, Snapshot, Message, Configuration, Standing)
"""Immutable, or exchanged as a whole when they change."""

SATURATED = {"steady_answers": STEADY_ANSWERS}
"""Counts of which only matters whether they have reached this."""

SKIPPED = {"random"}
"""The source of chance is the world's."""

SKIPPED_OF_ROUNDS = SKIPPED | {"_sent"}
"""Rounds that are no longer the newest can be answered by nobody, since no message is under way."""

PLAIN = {int, str, bool, type(None)}


def on_grid(seconds: float) -> float:
    """The nearest moment or length that adds exactly."""
    return round(seconds * 65536) * GRAIN


class Same:
    """Equal to the very same object only; holds it, so that nothing else can take its place in memory."""

    __slots__ = ("thing",)

    def __init__(self, thing: object) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)

    def __repr__(self) -> str:
        return repr(self.thing)


def grid_after(moment: float) -> float:
    """The first moment of the grid that is not before this one."""
    return ceil(moment * 65536) * GRAIN


def digest(qraft: QRaft, now: float) -> object:
    """All of a participant, with times relative to now and rounds to the newest one."""
    office = qraft._office
    newest = office.rounds.newest.number if office is not None else 0
    return _digest(qraft, "", now, newest, set())


def _digest(thing: Any, name: str, now: float, newest: int, seen: set[int]) -> object:
    kind = type(thing)
    if kind in PLAIN:
        return min(thing, SATURATED[name]) if name in SATURATED else thing
    if kind is float:
        return thing if name in DURATIONS else _moment(thing, now, name)
    if kind is Round:
        moment = _moment(thing.opened_at, now)
        return moment if isinstance(moment, str) else (thing.number - newest, moment, thing.promise)
    if kind is dict:
        return tuple([(key, _digest(thing[key], name, now, newest, seen)) for key in sorted(thing)])
    if kind in (list, tuple, deque):
        return tuple([_digest(value, name, now, newest, seen) for value in thing])
    if kind in (set, frozenset):
        return tuple(sorted(thing))
    return _digest_object(thing, now, newest, seen)


def _digest_object(thing: Any, now: float, newest: int, seen: set[int]) -> object:
    if isinstance(thing, BY_IDENTITY):
        return Same(thing)
    if isinstance(thing, Journal):
        return thing.base_index, thing.last_index, thing.last_term
    if isinstance(thing, Membership):
        return tuple((index, Same(members)) for index, members in thing._lists)
    if isinstance(thing, Output):
        assert not (thing.save or thing.send or thing.committed), "an output was not taken"
        return None
    if id(thing) in seen:
        return None
    seen.add(id(thing))
    skipped = SKIPPED_OF_ROUNDS if isinstance(thing, Rounds) else SKIPPED
    return tuple(
        [(name, _digest(value, name, now, newest, seen)) for name, value in _fields(thing) if name not in skipped]
    )


def _moment(moment: float, now: float, name: str = "") -> float | str:
    """How long ago, or how long until then."""
    if moment in (inf, -inf):
        return moment
    return "long ago" if moment <= now - LOOKED_BACK.get(name, LONG_AGO) else grid_after(moment) - now


def _fields(thing: Any) -> list[tuple[str, Any]]:
    slots = getattr(type(thing), "__slots__", None)
    if slots is None:
        return list(vars(thing).items())
    assert not hasattr(thing, "__dict__"), f"{type(thing).__name__} has fields beside its slots"
    return [(name, getattr(thing, name)) for name in slots]


def shift(qraft: QRaft, seconds: float, rounds: int, now: float) -> None:
    """Let this participant be as it is when that time, and so many rounds, have passed."""
    _shift(qraft, seconds, rounds, now, set())


def _shift(thing: Any, seconds: float, rounds: int, now: float, seen: set[int]) -> None:
    if id(thing) in seen or isinstance(thing, (*BY_IDENTITY, Journal, Membership, Output)):
        return
    seen.add(id(thing))
    if isinstance(thing, Rounds):
        newest = thing.newest
        thing._sent = deque([_moved(newest, "", seconds, rounds, now)] if newest.number else [], maxlen=ROUNDS_MAX)
    for name, value in _fields(thing):
        if name in SKIPPED or name in DURATIONS or name == "_sent":
            continue
        if type(value) is float:
            setattr(thing, name, _moved(value, name, seconds, rounds, now))
        elif type(value) is dict:
            for key, inner in value.items():
                if type(inner) in (float, Round):
                    value[key] = _moved(inner, name, seconds, rounds, now)
                elif hasattr(inner, "__slots__") or hasattr(inner, "__dict__"):
                    _shift(inner, seconds, rounds, now, seen)
        elif type(value).__module__.startswith("qluster.consensus"):
            _shift(value, seconds, rounds, now, seen)


def _moved(thing: Any, name: str, seconds: float, rounds: int, now: float) -> Any:
    if type(thing) is Round:
        if thing.opened_at <= now - LONG_AGO:
            return thing
        return Round(thing.number + rounds, thing.opened_at + seconds, thing.promise)
    return thing if thing <= now - LOOKED_BACK.get(name, LONG_AGO) or thing == inf else thing + seconds
