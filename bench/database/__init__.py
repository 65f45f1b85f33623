"""How long clients wait when a primary is struck, here and at Patroni: `make bench-failover`."""
# SPDX-License-Identifier: GPL-3.0-or-later
