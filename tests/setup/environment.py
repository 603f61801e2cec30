# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Prepare a machine for the tests and the demo, then run a command there.

    environment.py [--hosts | --engine] COMMAND [ARGUMENT...]

Missing Debian packages are installed if the user is root or may use sudo without a password. Python packages are
installed into a virtual environment below GPUFLEET_CACHE (default ~/.cache/gpufleet-ollama), never into the checkout or
the Python of the system. If the stamp (a hash of the requirement files and the interpreter) is unchanged, nothing is
installed. Needs only the standard library.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
CONSTRAINTS = HERE / "constraints.txt"
CACHE = pathlib.Path(os.environ.get("GPUFLEET_CACHE") or "~/.cache/gpufleet-ollama").expanduser().absolute()

# Controllers that ansible-core 2.19 to 2.21 run on, the one to take first in front.
CONTROLLERS = ("3.13", "3.12", "3.14", "3.11")

# Debian package -> a file that shows it is there on a system without dpkg.
COMPILER = {"gcc": "gcc", "libc6-dev": None, "zstd": "zstd"}
HOSTS = {
    "haproxy": "haproxy",
    "podman": "podman",
    "runc": "runc",
    "conmon": "conmon",
    "netavark": None,
    "aardvark-dns": None,
    "iptables": "iptables",
    "iproute2": "ip",
    "uidmap": "newuidmap",
    "mmdebstrap": "mmdebstrap",
}
ENGINE = {"mmdebstrap": "mmdebstrap"}
#: Debian package -> a program of it. The tests that need them unpack them into the cache: installed, they would run as
#: services of this machine.
UNPACKED = {"prometheus": "promtool", "prometheus-node-exporter": "prometheus-node-exporter"}
#: Days after which an environment is taken for one that no checkout needs any more.
UNUSED_DAYS = 14
#: What a first argument asks for beside the compiler.
FURTHER = {"--hosts": HOSTS, "--engine": ENGINE}


#: So much of the output of a command that failed is shown.
LINES_OF_A_FAILURE = 30


class SetupError(Exception):
    """A message in one sentence: what is missing and what to do."""


def say(text):
    print("setup: " + text, file=sys.stderr, flush=True)


def run(command, why, **options):
    """Run a command and show its output; raise SetupError if it fails."""
    say(" ".join(str(part) for part in command))
    try:
        subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr, **options)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError("%s: %s" % (why, error)) from error


def run_quietly(command, why, log, **options):
    """Run a command whose output goes to the end of a file; if it fails, its last lines are shown."""
    say("%s (output: %s)" % (" ".join(str(part) for part in command), log))
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("ab") as handle:
            subprocess.run(
                [str(part) for part in command], check=True, stdout=handle, stderr=subprocess.STDOUT, **options
            )
    except (OSError, subprocess.CalledProcessError) as error:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_OF_A_FAILURE:]
        print("\n".join(last), file=sys.stderr)
        raise SetupError("%s: %s (its whole output is in %s)" % (why, error, log)) from error


# --- Debian packages ------------------------------------------------------------------------------


def missing_packages(wanted):
    """Names of the packages in wanted {package: command} that are missing on this machine."""
    if shutil.which("dpkg-query"):
        answer = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"] + list(wanted),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        there = {line.split()[0] for line in answer.stdout.splitlines() if line.endswith(" installed")}
        return [name for name in wanted if name not in there]
    return [name for name, command in wanted.items() if command and not shutil.which(command)]


def as_root(names, by_hand):
    """What a command begins with to run as root. If that is not possible, the error names the command to run."""
    prefix = []
    if os.geteuid() != 0:
        may_ask = sys.stdin is not None and sys.stdin.isatty()
        if not shutil.which("sudo") or (
            not may_ask and subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL, check=False).returncode
        ):
            raise SetupError(
                "these Debian packages are missing and you are neither root nor allowed to use sudo; as root run: "
                + by_hand
            )
        prefix = ["sudo"]
    return prefix + ["env", "DEBIAN_FRONTEND=noninteractive"]


def install_packages(names):
    """Install Debian packages as root or through sudo. If neither is possible, the error names the command to run."""
    by_hand = "apt-get install --no-install-recommends " + " ".join(names)
    if not shutil.which("apt-get"):
        raise SetupError(
            "these programs are missing and this is not Debian or Ubuntu, so install them by hand: " + " ".join(names)
        )
    environment = as_root(names, by_hand)
    say("installing missing Debian packages: " + " ".join(names))
    log = CACHE / "apt.log"
    run_quietly(environment + ["apt-get", "-qq", "update"], "the list of Debian packages could not be read", log)
    run_quietly(
        environment + ["apt-get", "-qq", "-y", "install", "--no-install-recommends"] + names,
        "Debian packages could not be installed; by hand: " + by_hand,
        log,
    )


def unpacked(packages):
    """Directories to look for programs in, with those of Debian packages {package: a program of it} that this machine
    does not have."""
    missing = [name for name, program in packages.items() if not shutil.which(program)]
    places = {name: CACHE / "programs" / name for name in missing}
    with locked():
        for name, place in places.items():
            if not place.is_dir():
                place.parent.mkdir(exist_ok=True)
                unpack(name, place)
    return [str(place / "usr" / kind) for place in places.values() for kind in ("bin", "sbin")]


def unpack(name, place):
    """Put the files of a Debian package below a directory."""
    if not shutil.which("apt-get"):
        raise SetupError("%s is missing and this is not Debian or Ubuntu, so install it by hand" % name)
    log = CACHE / "apt.log"
    with tempfile.TemporaryDirectory(dir=str(CACHE)) as draft:
        download = ["apt-get", "-qq", "download", name]
        why = "the Debian package %s could not be fetched" % name
        try:
            run_quietly(download, why, log, cwd=draft)
        except SetupError:  # the list of packages is missing, or older than the packages
            update = as_root([name], "apt-get update") + ["apt-get", "-qq", "update"]
            run_quietly(update, "the list of Debian packages could not be read", log)
            run_quietly(download, why, log, cwd=draft)
        (archive,) = glob.glob(os.path.join(glob.escape(draft), "*.deb"))
        files = os.path.join(draft, "files")
        run_quietly(["dpkg-deb", "--extract", archive, files], "%s could not be unpacked" % archive, log)
        os.rename(files, str(place))


# --- Python ---------------------------------------------------------------------------------------


def probe(python):
    """(major.minor, real path) of an interpreter that can make virtual environments, or None."""
    code = "import os, sys, ensurepip, venv; print('%d.%d' % sys.version_info[:2], os.path.realpath(sys.executable))"
    try:
        answer = subprocess.run(
            [str(python), "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(answer.stdout.split(None, 1)) if answer.returncode == 0 else None


def interpreters():
    """{major.minor: path} of every usable Python on PATH and in
    ~/.pyenv/versions; the first one found of each version.
    """
    places = [os.environ["GPUFLEET_PYTHON"]] if os.environ.get("GPUFLEET_PYTHON") else []
    pyenv = os.path.expanduser(os.environ.get("PYENV_ROOT") or "~/.pyenv")
    places += sorted(glob.glob(os.path.join(glob.escape(pyenv), "versions", "3.*", "bin", "python3")))
    for name in ["python3"] + ["python3.%d" % minor for minor in range(9, 16)]:
        places += [
            str(pathlib.Path(folder) / name) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder
        ]
    found = {}
    for place in places:
        if os.path.exists(place) and "shims" not in pathlib.Path(place).parts:
            known = probe(place)
            if known:
                found.setdefault(known[0], known[1].strip())
    return found


def controller():
    """(version, path) of the Python for Ansible: GPUFLEET_PYTHON, or the first of CONTROLLERS that is there."""
    wish = os.environ.get("GPUFLEET_PYTHON")
    if wish:
        known = probe(wish)
        if not known or known[0] not in CONTROLLERS:
            raise SetupError(
                "GPUFLEET_PYTHON=%s is no Python of %s with venv and ensurepip."
                % (wish, ", ".join(sorted(CONTROLLERS)))
            )
        return known[0], known[1].strip()
    found = interpreters()
    for version in CONTROLLERS:
        if version in found:
            return version, found[version]
    return None


def digest(*parts):
    """Hash of the content of files and of texts."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part.read_bytes() if isinstance(part, pathlib.Path) else str(part).encode())
        state.update(b"\0")
    return state.hexdigest()


@contextlib.contextmanager
def locked():
    """Allow one installation at a time in the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def virtual_environment(name, python, requirements, constraints=CONSTRAINTS):
    """Path of a virtual environment with these requirements (a file, or a list of requirements).

    It is created where it is missing. Other requirements have another one: two checkouts can be tested at the same
    time. Those that were not used for UNUSED_DAYS are removed.
    """
    wanted = digest(python, requirements, constraints or "")
    home = CACHE / ("%s-%s" % (name, wanted[:8]))
    stamp = home / "stamp"
    arguments = ["-r", requirements] if isinstance(requirements, pathlib.Path) else list(requirements)
    with locked():
        works = (
            probe(home / "bin" / "python") if stamp.exists() and stamp.read_text(encoding="ascii") == wanted else None
        )
        if not works:
            say("Python environment %s: installing (once, a few minutes)" % home)
            run([python, "-m", "venv", "--clear", home], "no virtual environment could be made with %s" % python)
            limits = ["-c", constraints] if constraints else []
            run(
                [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                + arguments
                + limits,
                "Python packages could not be installed (is a package index reachable, and pip's configuration right?)",
            )
            stamp.write_text(wanted, encoding="ascii")
        stamp.touch()
        remove_unused(name)
    return home


def remove_unused(name):
    """Remove the environments of this name that no checkout has used for a long time."""
    for stamp in CACHE.glob(glob.escape(name) + "-*/stamp"):
        if stamp.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
            shutil.rmtree(stamp.parent)


def prepare(further):
    """Install what is missing; returns the environment variables for the command.

    further: Debian packages that are wanted beside the compiler, as {package: command}.
    """
    chosen = controller()
    wanted = dict(COMPILER, **further)
    missing = missing_packages(wanted)
    if chosen is None and shutil.which("apt-get"):
        missing.append("python3-venv")
    if missing:
        install_packages(missing)
        chosen = chosen or controller()
    if chosen is None:
        raise SetupError(
            "no Python of %s with venv was found (found: %s); install one or name it in GPUFLEET_PYTHON."
            % (", ".join(sorted(CONTROLLERS)), ", ".join(sorted(interpreters())) or "none")
        )
    home = virtual_environment("test-" + chosen[0], chosen[1], REQUIREMENTS)
    environment = dict(os.environ, GPUFLEET_CACHE=str(CACHE), VIRTUAL_ENV=str(home), LC_ALL="C.UTF-8")
    environment["PATH"] = os.pathsep.join([str(home / "bin"), os.environ.get("PATH", os.defpath)])
    environment.pop("PYTHONHOME", None)
    return environment


def main(arguments):
    further = FURTHER.get(arguments[0] if arguments else "")
    command = arguments if further is None else arguments[1:]
    try:
        environment = prepare(further or {})
    except (SetupError, OSError) as error:
        say(str(error))
        return 1
    if not command:
        return 0
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        say("%s cannot be run: %s" % (command[0], error))
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
