"""Transport: what a datagram is, which are missing, when the next may go. Pure: no socket, no clock."""
# SPDX-License-Identifier: GPL-3.0-or-later
