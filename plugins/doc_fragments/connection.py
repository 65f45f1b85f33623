"""Says once how a module reaches the nodes of a cluster."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  nodes:
    description:
      - Base URLs of the REST interface of the nodes, for example V(https://192.0.2.11:8080).
      - Each node is asked at its own URL. Equal entries count once.
      - C(http) is taken only without a token, or for a loopback address.
    type: list
    elements: str
    required: true
  token:
    description:
      - Token with the right to read.
      - If neither this nor O(token_file) is given, the environment variable E(QLUSTER_TOKEN) is used.
    type: str
  token_file:
    description:
      - File whose one line is the token, on the host that runs the module. Used when O(token) is not given.
      - If not given, the environment variable E(QLUSTER_TOKEN_FILE) is used.
    type: path
  ca_file:
    description:
      - File with the certificates of the authorities that the nodes' certificates must come from,
        on the host that runs the module. Without it, those of Python's C(certifi) are used.
      - If not given, the environment variable E(QLUSTER_CA_FILE) is used.
    type: path
  validate_certs:
    description:
      - Whether the nodes' certificates are checked. With V(false) anybody in between can read the token.
    type: bool
    default: true
  request_timeout:
    description:
      - Seconds that one request may take, from 0.1.
    type: float
    default: 5.0
  total_timeout:
    description:
      - Seconds that one look at the whole cluster may take; at least O(request_timeout).
    type: float
    default: 30.0
requirements:
  - requests
notes:
  - Meant to run on the controller, with C(delegate_to) V(localhost) or in a play on it. The hosts of the
    cluster need no Python for it.
  - Proxy settings and C(.netrc) of the environment are not used. The token would go astray by them.
"""
