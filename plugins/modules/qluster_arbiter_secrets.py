#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_arbiter_secrets
short_description: Make, renew or take over the certificates between an arbiter and its clusters
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Keeps, in one directory on the controller, what an arbiter and the nodes that ask it prove themselves with.
  - That is an authority (C(ca.crt), C(ca.key)), the arbiter's certificate for the name C(Qnetd Server) (C(server.crt),
    C(server.key)), and for each cluster a certificate for its name (C(clients/NAME.crt), C(clients/NAME.key)).
    They are as corosync's own tools make them, so that corosync-qdevice works with them too.
  - What is there and good stays as it is. A certificate is made anew when it is about to expire, when its key is
    missing, or when the authority has changed; an authority that is about to expire gets a successor, and the old
    one stays in C(ca.crt) until it has expired.
  - With O(imported) nothing is made. The certificates of an arbiter that is there already, such as a
    corosync-qnetd, are checked and put into the directory as C(ca.crt), C(clients/NAME.crt) and C(clients/NAME.key).
  - Nothing secret is returned or printed. Files have mode 0600, directories 0700.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say what would be made, without making it.
  diff_mode:
    support: none
    description: Secrets are not shown.
  idempotent:
    support: full
    description: A second run changes nothing until something is about to expire.
options:
  directory:
    description:
      - Directory of the certificates. It is made with mode 0700, and with a C(.gitignore) for everything in it.
    type: path
    required: true
  clusters:
    description: Names of the clusters that get a certificate; with O(imported) the one whose certificate it is.
    type: list
    elements: str
    required: true
  imported:
    description:
      - What an arbiter that was set up by others has given for the cluster.
    type: dict
    suboptions:
      ca_file:
        description: Certificate of its authority, PEM or DER; C(qnetd-cacert.crt) of corosync-qnetd-certutil.
        type: path
        required: true
      pkcs12_file:
        description: The cluster's certificate with its key; C(qdevice-net-node.p12) of corosync-qdevice-net-certutil.
        type: path
      passphrase_file:
        description:
          - File with the passphrase of O(imported.pkcs12_file). Not given, it has none, as corosync's tools make it.
        type: path
      certificate_file:
        description: The cluster's certificate, PEM or DER, in place of O(imported.pkcs12_file).
        type: path
      key_file:
        description: Private key of O(imported.certificate_file), PEM without a passphrase.
        type: path
  renew_before:
    description: Days before its end at which a certificate is made anew.
    type: int
    default: 60
  validity:
    description: Days that a certificate of the arbiter or of a cluster is good for.
    type: int
    default: 825
  authority_validity:
    description: Days that the authority is good for.
    type: int
    default: 3650
requirements:
  - cryptography >= 42
"""

EXAMPLES = r"""
- name: Make the certificates of the arbiter and of two clusters
  qhb.qluster.qluster_arbiter_secrets:
    directory: "{{ inventory_dir }}/.secrets/arbiter"
    clusters: [main, billing]
  delegate_to: localhost
  run_once: true

- name: Take over what the administrator of a corosync-qnetd has given
  qhb.qluster.qluster_arbiter_secrets:
    directory: "{{ inventory_dir }}/.secrets/arbiter-imported"
    clusters: [main]
    imported:
      ca_file: /srv/given/qnetd-cacert.crt
      pkcs12_file: /srv/given/qdevice-net-node.p12
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
made:
  description: Files that were made because they were not there.
  returned: always
  type: list
  elements: str
  sample: [ca.crt, ca.key, clients/main.crt, clients/main.key, server.crt, server.key]
renewed:
  description: Why each file that was there has been made anew, by its name.
  returned: always
  type: dict
  sample: {server.crt: it expires in 12 days}
protected:
  description: Files and directories whose mode was too open and has been set right.
  returned: always
  type: list
  elements: str
  sample: []
expires:
  description: Days until the first certificate expires.
  returned: always
  type: int
  sample: 824
"""

import datetime
import os
import re

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.qhb.qluster.plugins.module_utils._certificates import (
    CRYPTOGRAPHY_ERROR,
    Authority,
    SecretsFault,
    Store,
    plain_certificate,
)
from ansible_collections.qhb.qluster.plugins.module_utils._foreign_certificates import take_over
from ansible_collections.qhb.qluster.plugins.module_utils._on_disk import locked

SERVER_NAME = "Qnetd Server"
"""The name that corosync's clients, and ours, look for."""
CLUSTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""It is a file's name and a certificate's common name; X.509 allows 64 characters."""


def check(options):
    """Refuse what cannot be meant."""
    clusters = options["clusters"]
    if not clusters:
        raise SecretsFault("clusters is empty: name the cluster that is to ask the arbiter.")
    for name in clusters:
        if CLUSTER_NAME.fullmatch(name) is None:
            raise SecretsFault(f"The cluster name {name!r} cannot stand in a certificate: use at most 64 letters, "
                               "digits, dots, dashes and underscores, and begin with a letter or digit.")
    if len(set(clusters)) != len(clusters):
        raise SecretsFault(f"clusters names one twice: {', '.join(clusters)}.")
    if options["imported"] and len(clusters) != 1:
        raise SecretsFault(f"A certificate that is taken over is for one cluster; given: {', '.join(clusters)}.")


def provide(options, store):
    """Every certificate; answer the days until the first of them expires."""
    now = datetime.datetime.now(datetime.timezone.utc)
    store.folder("")
    if not os.path.exists(store.path(".gitignore")):
        store.write(".gitignore", b"*\n")
    store.folder("clients")
    if options["imported"]:
        return take_over(store, options["clusters"][0], options["imported"], now)
    authority = Authority(store, "QNet CA", options, now)
    wanted = [plain_certificate("server", SERVER_NAME, serves=True)]
    wanted += [plain_certificate(f"clients/{name}", name, serves=False) for name in options["clusters"]]
    return min(authority.provide(one) for one in wanted)


def perform(options, check_mode):
    """Two runs at once would overwrite each other's halves: one waits for the other."""
    check(options)
    store = Store(options["directory"], check_mode)
    if check_mode:
        left = provide(options, store)
    else:
        parent = os.path.dirname(os.path.abspath(options["directory"]))
        os.makedirs(parent, mode=0o700, exist_ok=True)
        with locked(parent):
            left = provide(options, store)
    return {"changed": store.changed, "made": sorted(store.made), "renewed": store.renewed,
            "protected": store.protected, "expires": left}


def main():
    path = {"type": "path"}
    imported = {
        "ca_file": {"type": "path", "required": True}, "pkcs12_file": path,
        "passphrase_file": {"type": "path", "no_log": False}, "certificate_file": path,
        "key_file": {"type": "path", "no_log": False},
    }
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "clusters": {"type": "list", "elements": "str", "required": True},
            "imported": {
                "type": "dict", "options": imported, "required_one_of": [("pkcs12_file", "certificate_file")],
                "mutually_exclusive": [("pkcs12_file", "certificate_file")],
                "required_together": [("certificate_file", "key_file")],
                "required_by": {"passphrase_file": ("pkcs12_file",)},
            },
            "renew_before": {"type": "int", "default": 60},
            "validity": {"type": "int", "default": 825},
            "authority_validity": {"type": "int", "default": 3650},
        },
        supports_check_mode=True,
    )
    if CRYPTOGRAPHY_ERROR is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=CRYPTOGRAPHY_ERROR)
    try:
        module.exit_json(**perform(module.params, module.check_mode))
    except SecretsFault as fault:
        module.fail_json(msg=str(fault))
    except OSError as error:
        module.fail_json(msg=f"The certificates cannot be kept: {error}. Choose another qluster_secrets_dir.")


if __name__ == "__main__":
    main()
