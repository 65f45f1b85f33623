"""Runs ansible-test sanity and the linter of module documentation on a copy of the collection.

ansible-test wants its collection below `ansible_collections/` and outside of any repository,
and brings no pip: both are arranged here, so that it runs without any network but the package index.
What it installs is kept in `.cache/sanity`, which may be deleted at any time.

    tests/collection/sanity.py                  the Python that runs this
    tests/collection/sanity.py --all            every Python from 3.8 that is installed
    tests/collection/sanity.py --test pep8      one test only
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HOME = ROOT / ".cache" / "sanity"
LEFT_OUT = (".ansible", "node", "lab", "packaging", "bench", "tests/node", "tests/lab", "tests/local",
            "tests/collection", "tests/faults", "tests/ledger", "tests/fuzz", "tests/benchmark",
            "tests/golden", "tests/run.py", "tests/host_packages.py")
"""What is no part of the collection; node/ and the tests have their own linters with narrower rules."""
PYTHONS = tuple(f"3.{minor}" for minor in range(8, 14))
SECONDS_MAX = 1800
"""The first run with all Pythons builds a dozen environments."""

BOOTSTRAP = '''"""Stands in for the script that ansible-test would fetch from the network."""
import ensurepip

ensurepip.bootstrap(default_pip=True)
'''


def main() -> int:
    """Run both linters; 0 when both found nothing."""
    options = arguments()
    failed = False
    with tempfile.TemporaryDirectory(prefix="qluster-sanity-") as folder:
        copy = Path(folder) / "ansible_collections" / "qhb" / "qluster"
        copy_collection(copy)
        environment = surroundings(Path(folder))
        for version in options.python or (present(environment) if options.all else [running()]):
            command = [str(BIN / "ansible-test"), "sanity", "--local", "--color", "no", "--python", version]
            command += [word for test in options.test for word in ("--test", test)]
            failed |= run(command, copy, environment) != 0
        if not options.test:
            failed |= run(documentation_linter(), copy, {**environment, "HOME": os.environ["HOME"]}) != 0
    return int(failed)


def arguments() -> argparse.Namespace:
    """What the caller wants."""
    parser = argparse.ArgumentParser(description="ansible-test sanity on a copy of the collection")
    parser.add_argument("--all", action="store_true", help="every Python that is installed")
    parser.add_argument("--python", action="append", choices=PYTHONS, help="this Python (may be repeated)")
    parser.add_argument("--test", action="append", default=[], help="only this test (may be repeated)")
    return parser.parse_args()


def running() -> str:
    """The Python that runs this, as ansible-test names it."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def documentation_linter() -> list[str]:
    """The linter of what `ansible-doc` shows."""
    return [str(BIN / "antsibull-docs"), "lint-collection-docs", ".", "--plugin-docs",
            "--validate-collection-refs=all", "--skip-rstcheck"]


def copy_collection(target: Path) -> None:
    """Everything git knows or would take, as it lies in the work tree."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in sorted(set(listed.split("\0")) - {""}):
        source = ROOT / name
        if any(name == out or name.startswith(out + "/") for out in LEFT_OUT) or not source.exists():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / name, follow_symlinks=False)


def surroundings(folder: Path) -> dict[str, str]:
    """A home with the bootstrap script and pip's settings, and a PATH where real interpreters come first.

    ansible-test hands HOME and PATH on to what it starts, and little else.
    """
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / f"get_pip_{pip_version().replace('.', '_')}.py").write_text(BOOTSTRAP, encoding="ascii")
    settings = HOME / ".config" / "pip" / "pip.conf"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.touch(mode=0o600)
    settings.write_text(pip_settings(), encoding="utf-8")
    links = folder / "pythons"
    links.mkdir()
    for version, program in interpreters().items():
        (links / f"python{version}").symlink_to(program)
    path = os.pathsep.join([str(links), str(BIN), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "HOME": str(HOME), "PATH": path, "ANSIBLE_COLLECTIONS_PATH": str(folder)}


def pip_version() -> str:
    """The version in the name of the bootstrap script that this ansible-test looks for."""
    found = subprocess.run(
        [sys.executable, "-c", "import ansible_test, os; print(os.path.dirname(ansible_test.__file__))"],
        check=True, capture_output=True, text=True,
    )
    source = Path(found.stdout.strip()) / "_internal" / "python_requirements.py"
    version = re.search(r"\bpip='([\d.]+)'", source.read_text(encoding="utf-8"))
    if version is None:
        sys.exit(f"{source} no longer says which pip ansible-test wants: look there and adapt pip_version()")
    return version.group(1)


def pip_settings() -> str:
    """The settings that pip has here, from its files and its environment, as one file."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    values = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        if name.startswith((":env:.", "global.", "install.")):
            # pip prints values as Python literals; an environment variable, listed first, wins over files.
            values.setdefault(name.rpartition(".")[2], value.strip("'").replace("\\n", "\n    "))
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(values.items()))


def interpreters() -> dict[str, str]:
    """Each Python that is there and answers, by its real path.

    Shims of version managers fail where the environment is stripped, so pyenv's are looked up beside them.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = {}
    for version in PYTHONS:
        kept = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
        for program in filter(None, [shutil.which(f"python{version}"), *map(str, kept)]):
            command = [program, "-I", "-c", "import sys; print(sys.executable)"]
            asked = subprocess.run(command, capture_output=True, text=True, check=False)
            if asked.returncode == 0:
                found[version] = asked.stdout.strip()
                break
    found[running()] = str(Path(sys.base_prefix) / "bin" / f"python{running()}")
    return found


def present(environment: dict[str, str]) -> list[str]:
    """The Pythons that were linked in front of the PATH."""
    links = Path(environment["PATH"].split(os.pathsep)[0])
    return [version for version in PYTHONS if (links / f"python{version}").exists()]


def run(command: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Run it where its output can be seen; its exit code."""
    print("+", " ".join(Path(word).name if word.startswith("/") else word for word in command), flush=True)
    try:
        ended = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=False,
                               timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        print(f"not done after {SECONDS_MAX} seconds", file=sys.stderr)
        return 124
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
