"""Requests become events, state becomes JSON; it must not know how either travels."""
# SPDX-License-Identifier: GPL-3.0-or-later
