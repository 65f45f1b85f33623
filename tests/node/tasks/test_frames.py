"""Messages in a stream of bytes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.tasks.frames import Frames, Overlong, framed
from qluster.tasks.runner import FRAME_MAX


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_messages_come_out_as_they_went_in(step: int) -> None:
    messages = [b"", b"a", b"bc" * 50, b"\0\0\0\1"]
    stream, frames, came = b"".join(framed(one) for one in messages), Frames(), []
    for at in range(0, len(stream), step):
        came += frames.take(stream[at : at + step])
    assert came == messages


def test_what_is_too_long_is_refused_before_it_has_come() -> None:
    with pytest.raises(Overlong):
        Frames().take((FRAME_MAX + 1).to_bytes(4, "big"))
    with pytest.raises(Overlong):
        framed(bytes(FRAME_MAX + 1))
