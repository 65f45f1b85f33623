"""The one exception of this folder.

It must not know what was tried.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class PostgresFailed(Exception):
    """An order could not be carried out; the text is one sentence for people.

    ``passing``: the cause lies on another host (an upstream that does not answer) or shows in the facts
    already (a diverged directory): another attempt is not used up by it.
    ``refused``: what the server answered to a statement that it did not take; "" when there was no answer.
    """

    def __init__(self, sentence: str, *, passing: bool = False, refused: str = "") -> None:
        super().__init__(sentence)
        self.passing = passing
        self.refused = refused
