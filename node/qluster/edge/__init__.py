"""The hands: one file for each kind of contact with the world."""
# SPDX-License-Identifier: GPL-3.0-or-later
