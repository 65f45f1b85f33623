"""The client of an arbiter on a node: corosync's model net, without socket, TLS, process or clock.

It says which vote the arbiter gave, and for which membership. What the vote is used for it must not know.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
