"""How faults are planted into the product on purpose, for the time of a ``with`` block.

Must not know which faults, nor what finds them.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

Plant = Callable[[], AbstractContextManager[Any]]


class Plants(dict[str, Plant]):
    """Planted faults, each under the sentence that says what it does wrong."""

    def plant(self, sentence: str) -> Callable[[Callable[[], Iterator[None]]], Plant]:
        """Enter a function that has a ``yield`` where the fault is in force."""

        def enter(make: Callable[[], Iterator[None]]) -> Plant:
            self[sentence] = contextmanager(make)
            return self[sentence]

        return enter

    def method(self, sentence: str, owner: Any, name: str, faulty: Any) -> None:
        """Enter a fault that replaces one method, or one value."""
        self[sentence] = replaced(owner, name, faulty)


def replaced(owner: Any, name: str, faulty: Any) -> Plant:
    """A fault that replaces one method, or one value."""
    return lambda: patch.object(owner, name, faulty)


def after(owner: type, name: str, then: Callable[[Any], None]) -> Callable[..., Any]:
    """The method, followed by something wrong."""
    sound = getattr(owner, name)

    def faulty(self: Any, *arguments: Any, **named: Any) -> Any:
        result = sound(self, *arguments, **named)
        then(self)
        return result

    return faulty
