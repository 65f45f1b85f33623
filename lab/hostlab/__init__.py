"""Hosts with systemd on one machine, in namespaces of their own.

Standard library only: the lab runs before anything of this project is installed.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
