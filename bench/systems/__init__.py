"""The systems under measurement: how each is started, asked who leads, loaded and ended."""
# SPDX-License-Identifier: GPL-3.0-or-later
