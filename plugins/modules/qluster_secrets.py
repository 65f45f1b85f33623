#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_secrets
short_description: Make and renew the secrets of a cluster on the controller
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Makes, in one directory on the controller, everything that the hosts of a cluster must share or prove.
  - That is an authority, a certificate with key for each host, the cluster key that seals datagrams,
    the tokens of the REST interface, and the passwords of database and pool.
  - The token for deploying, which writes templates of tasks, stays on the controller. The hosts get its SHA-256.
  - What is there and good stays as it is. A certificate is made anew when it is about to expire, when the
    host's address has changed, when its key is missing, or when the authority has changed.
  - An authority that is about to expire gets a successor. The old one stays in C(ca.crt) until it has
    expired, so that hosts go on trusting each other while the new certificates are brought out.
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
      - Directory of the secrets. It is made with mode 0700, and with a C(.gitignore) for everything in it.
    type: path
    required: true
  hosts:
    description: The hosts that get a certificate.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the host in the inventory; also the name of its files.
        type: str
        required: true
      ip:
        description: Address that the certificate is issued for.
        type: str
        required: true
  cluster:
    description: Name of the cluster; it stands in the names of the certificates.
    type: str
    required: true
  dask:
    description:
      - Whether each host gets a certificate for Dask as well. They lie in C(dask), and an authority of their own issues
        them, so that who has one proves nothing to the cluster.
    type: bool
    default: false
  renew_before:
    description: Days before its end at which a certificate is made anew.
    type: int
    default: 60
  validity:
    description: Days that a host's certificate is good for.
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
- name: Make the secrets of the cluster
  qhb.qluster.qluster_secrets:
    directory: "{{ inventory_dir }}/.secrets"
    cluster: main
    hosts:
      - {name: db1, ip: 192.0.2.11}
      - {name: db2, ip: 192.0.2.12}
      - {name: db3, ip: 192.0.2.13}
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
made:
  description: Files that were made because they were not there.
  returned: always
  type: list
  elements: str
  sample: [ca.crt, ca.key, cluster.key, hosts/db1.crt, hosts/db1.key]
renewed:
  description: Why each file that was there has been made anew, by its name.
  returned: always
  type: dict
  sample: {hosts/db1.crt: it expires in 12 days}
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
import hashlib
import ipaddress
import os
import re
import secrets

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.qhb.qluster.plugins.module_utils._certificates import (
    CRYPTOGRAPHY_ERROR,
    Authority,
    SecretsFault,
    Store,
    host_certificate,
)
from ansible_collections.qhb.qluster.plugins.module_utils._cluster_key import (
    KeyFileFault,
    content_of,
    fresh,
    parse,
)
from ansible_collections.qhb.qluster.plugins.module_utils._on_disk import locked

WORDS = {
    "read.token": 32,
    "operate.token": 32,
    "deploy.token": 32,
    "database.password": 24,
    "application.password": 24,
    "pool.password": 24,
}
"""Random bytes of each secret word: 192 bits and more, nobody types them."""
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_cluster_key(path, content):
    """Refuse a file that no daemon would take."""
    try:
        parse(path, content)
    except KeyFileFault as fault:
        raise SecretsFault(str(fault)) from None


def provide_words(store):
    """The cluster key, tokens and passwords."""
    content = store.read("cluster.key")
    if content is None:
        store.write("cluster.key", content_of([fresh(1)]))
    else:
        check_cluster_key(store.path("cluster.key"), content)
    for name, size in WORDS.items():
        content = store.read(name)
        if content is None:
            store.write(name, secrets.token_urlsafe(size).encode() + b"\n")
        elif len(content.split()) != 1:
            raise SecretsFault(f"{store.path(name)} must hold one word without blanks, on one line.")
    provide_digest(store)


def provide_digest(store):
    """What the hosts get of the token for deploying: enough to know it, not to use it."""
    content = f"sha256:{hashlib.sha256(store.read('deploy.token').strip()).hexdigest()}\n".encode()
    there = store.read("deploy.sha256")
    if there != content:
        store.write("deploy.sha256", content, None if there is None else "the token is another one")


def check_hosts(hosts):
    seen = {}
    for host in hosts:
        name, ip = host["name"], host["ip"]
        if HOST_NAME.fullmatch(name) is None:
            raise SecretsFault(f"The host name {name!r} is no file name: use letters, digits, dots, dashes.")
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            raise SecretsFault(f"The ip of {name} is {ip!r}: give an address, such as 192.0.2.11.") from None
        if address in seen:
            raise SecretsFault(f"{seen[address]} and {name} have the same ip {ip}.")
        seen[address] = name


def provide(module):
    """Everything, in the order in which one thing needs another."""
    options = module.params
    check_hosts(options["hosts"])
    store = Store(options["directory"], module.check_mode)
    store.folder("")
    if not os.path.exists(store.path(".gitignore")):
        store.write(".gitignore", b"*\n")
    store.folder("hosts")
    provide_words(store)
    now = datetime.datetime.now(datetime.timezone.utc)
    wanted = [host_certificate(host["name"], host["ip"]) for host in options["hosts"]]
    authority = Authority(store, f"{options['cluster']} authority", options, now)
    left = [authority.provide(each) for each in wanted]
    if options["dask"]:
        dask = store.below("dask")
        dask.folder("")
        dask.folder("hosts")
        authority = Authority(dask, f"{options['cluster']} Dask authority", options, now)
        left += [authority.provide(each) for each in wanted]
        store.add("dask", dask)
    return {
        "changed": store.changed,
        "made": sorted(store.made),
        "renewed": store.renewed,
        "protected": store.protected,
        "expires": min(left, default=options["validity"]),
    }


def provide_alone(module):
    """Two runs at once would overwrite each other's halves: one waits for the other."""
    if module.check_mode:
        return provide(module)
    parent = os.path.dirname(os.path.abspath(module.params["directory"]))
    os.makedirs(parent, exist_ok=True)
    with locked(parent):
        return provide(module)


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "hosts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "ip": {"type": "str", "required": True},
                },
            },
            "cluster": {"type": "str", "required": True},
            "dask": {"type": "bool", "default": False},
            "renew_before": {"type": "int", "default": 60},
            "validity": {"type": "int", "default": 825},
            "authority_validity": {"type": "int", "default": 3650},
        },
        supports_check_mode=True,
    )
    if CRYPTOGRAPHY_ERROR is not None:
        module.fail_json(msg=missing_required_lib("cryptography"), exception=CRYPTOGRAPHY_ERROR)
    try:
        module.exit_json(**provide_alone(module))
    except SecretsFault as fault:
        module.fail_json(msg=str(fault))
    except OSError as error:
        module.fail_json(msg=f"The secrets cannot be kept: {error}. Choose another qluster_secrets_dir.")


if __name__ == "__main__":
    main()
