"""The consensus benchmark: the product beside etcd and PySyncObj, in one run, on one machine."""
# SPDX-License-Identifier: GPL-3.0-or-later
