"""The HTTP server (``server.py``), and the short way for questions of load balancers (``front.py``)."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.edge.rest.server import RestServer, RestUnavailable

__all__ = ["RestServer", "RestUnavailable"]
