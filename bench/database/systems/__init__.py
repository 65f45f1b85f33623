"""The systems, each with three hosts: started, told of a switchover, started again where a host died."""
# SPDX-License-Identifier: GPL-3.0-or-later
