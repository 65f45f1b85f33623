"""The hand that touches the database: programs, processes, files and SQL, and nothing that decides.

``Postgres`` carries out the orders of ``database/orders.py`` and reads ``database/facts.py``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from .failure import PostgresFailed
from .hand import Postgres
from .programs import embedded_programs
from .starting import Opened

__all__ = ["Opened", "Postgres", "PostgresFailed", "embedded_programs"]
