"""The hand that touches the database: programs, processes, files and SQL, and nothing that decides.

``Postgres`` in ``hand.py`` carries out the orders of ``database/orders.py`` and reads ``database/facts.py``.
Here stands only what a host without a database needs to know: the rest takes 4 MiB of memory, most of it the driver's.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from .failure import PostgresFailed

__all__ = ["PostgresFailed"]
