"""The first process of a lab: it holds the lab's namespaces, buries orphans, and does nothing else.

It runs as process 1 of a PID namespace, with mount and network namespaces of its own. When it ends,
the kernel ends every process of the lab and takes mounts and interfaces with it: nothing can be left
behind, whatever crashed. Must not know what runs in the lab.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess

# systemd-nspawn keeps locks and host roots below /run, `ip netns` its names; it insists on a tmpfs.
FOLDERS = ("/run/netns", "/run/systemd/nspawn", "/run/lab")


def mount(*words: str) -> None:
    # -n: no note of it in the machine's own /run/mount.
    subprocess.run(["mount", "-n", *words], check=True, timeout=15, stdin=subprocess.DEVNULL)


def main() -> None:
    assert os.getpid() == 1, "the keeper is started by lab.py, as process 1 of a PID namespace"
    # /proc still is the outer one: it says under which id the machine knows this process.
    pid_outside = os.readlink("/proc/self")
    mount("-t", "tmpfs", "-o", "mode=0755,size=64m", "lab", "/run")
    for folder in FOLDERS:
        os.makedirs(folder)
    mount("-t", "proc", "proc", "/proc")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries orphans by itself then
    print(pid_outside, flush=True)
    os.close(1)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
