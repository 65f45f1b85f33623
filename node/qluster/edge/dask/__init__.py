"""A Dask cluster beside the nodes: a scheduler where the leader is, workers everywhere, scripts that use them.

It must not know what computations are, nor import Dask: that is in an environment of its own (``tasks.dask-python``).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
