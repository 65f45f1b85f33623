"""The arbiter as a daemon: sockets, TLS, files and time around ``qnet/``, and the tool that asks it.

It runs on a host that is no member: nothing of a node may be imported here.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
