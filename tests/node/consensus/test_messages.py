"""Messages and their bytes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

import msgspec
import pytest
from qluster.consensus import messages as say
from qluster.consensus.settings import BATCH_ENTRIES_MAX, ENTRY_OVERHEAD_BYTES
from qluster.events import Entry

EXAMPLES: list[say.AnyMessage] = [
    say.PreVote(2**64 - 1, 1, 7, 12, 6),
    say.PreVoteReply(9, 2, 6, 7, True),
    say.Vote(9, 1, 7, 12, 6, True),
    say.VoteReply(9, 2, 7, False, 3),
    say.Append(9, 1, 7, 3, 30.0, 12, 6, 11, say.records_of([Entry(13, 7, "command", b"x" * 500)])),
    say.Append(9, 1, 7, 0, 0.03, 0, 0, 0),
    say.AppendReply(9, 2, 7, 3, 13, (4, 5)),
    say.AppendRefusal(9, 2, 7, 3, 12, 9, 5),
    say.SnapshotOffer(9, 1, 7, 400),
    say.LeaderQuery(9, 3, 7),
    say.TimeoutNow(9, 1, 7),
    say.Goodbye(9, 1, 7, 2),
    say.Expelled(9, 1, 7, 40, 3),
]
NAMES = [f"{place}-{type(message).__name__}" for place, message in enumerate(EXAMPLES)]


@pytest.mark.parametrize("message", EXAMPLES, ids=NAMES)
def test_message_survives_its_bytes(message: say.AnyMessage) -> None:
    assert say.decode(say.encode(message)) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=NAMES)
def test_message_cut_short_or_with_flipped_bits_is_refused_or_another_message(message: say.AnyMessage) -> None:
    """B10: whatever comes in, there is a message with all its fields or a refusal, never a crash."""
    whole = say.encode(message)
    for length in range(len(whole)):
        with pytest.raises(say.MalformedMessage):
            say.decode(whole[:length])
    random = Random(1)
    for _ in range(300):
        wrong = bytearray(whole)
        wrong[random.randrange(min(len(wrong), 60))] ^= 1 << random.randrange(8)
        try:
            say.encode(say.decode(bytes(wrong)))
        except say.MalformedMessage:
            continue


def test_entries_keep_index_term_kind_and_payload() -> None:
    entries = [Entry(5, 2, "noop", b""), Entry(6, 3, "members", b"m"), Entry(7, 3, "command", b"c")]
    append = say.Append(9, 1, 3, 1, 30.0, 4, 2, 4, say.records_of(entries))
    assert list(append.entries) == entries
    assert append.last_index == 7


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (say.Append(9, 1, 7, 3, 30.0, 12, 6, 11, (say.Record(8, 2, b""),)), "terms"),
        (say.Append(9, 1, 7, 3, 30.0, 12, 6, 11, (say.Record(5, 2, b""),)), "terms"),
        (say.Append(9, 1, 7, 3, 30.0, 0, 6, 11), "cannot have term"),
        (say.Append(9, 1, 7, 3, 30.0, 12, 0, 11), "cannot have term"),
        (say.Append(9, 1, 7, 3, 30.0, 12, 6, 11, (say.Record(7, 2, b""),) * (BATCH_ENTRIES_MAX + 1)), "entries"),
        (say.AppendReply(9, 2, 7, 3, 13, tuple(range(1, 80))), "silent"),
        (say.Append(9, 1, 7, 3, -1.0, 12, 6, 11), "no message"),
        (say.Vote(9, 0, 7, 12, 6), "no message"),
        (say.Vote(9, 1, -7, 12, 6), "no message"),
        (say.Append(9, 1, 7, 3, 30.0, 12, 6, 11, (say.Record(7, 3, b""),)), "no message"),
        (say.Append(9, 1, 7, 3, 30.0, 12, 6, 11, (say.Record(7, 1, b"nobody"),)), "entry 13: not a list of members"),
        (say.Append(9, 1, 7, 3, 30.0, 12, 6, 11, (say.Record(7, 0, b"\0" * 7 + b"\x0d"),)), "13 is committed"),
    ],
)
def test_message_that_contradicts_itself_is_refused(message: say.AnyMessage, reason: str) -> None:
    with pytest.raises(say.MalformedMessage, match=reason):
        say.decode(say.encode(message))


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xc1", msgspec.msgpack.encode([99, 1, 2, 3]), b"\x91" * 5000])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(say.MalformedMessage):
        say.decode(content)


def test_size_max_holds_for_one_full_entry_and_for_many_empty_ones() -> None:
    big = 2**62
    full = say.Append(2**64 - 1, big, big, big, 30.0, big, big, big, (say.Record(big, 2, b"x" * 64_000),))
    assert len(say.encode(full)) <= say.size_max(64_000)
    count = min(BATCH_ENTRIES_MAX, 64_000 // ENTRY_OVERHEAD_BYTES)
    many = say.Append(2**64 - 1, big, big, big, 30.0, big, big, big, (say.Record(big, 2, b""),) * count)
    assert len(say.encode(many)) <= say.size_max(64_000)
    silent = say.AppendReply(2**64 - 1, big, big, big, big, (big,) * say.SILENT_MAX)
    assert len(say.encode(silent)) <= say.size_max(1_000)
