# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Every path, unit and store that the collection has on a host. Pure.

All paths are absolute. Where tests put a host below another root, `below` moves a path there.
"""

from __future__ import annotations

import posixpath
import re
from typing import Dict, Iterable, Optional

# The service user. It has no home of its own: a service's is its store.
USER = "ollama"
HOME = "/nonexistent"
#: Where the instances' stores are made, unless the user names another directory. Everything down to the stores belongs
#: to root.
DEFAULT_MODELS_DIR = "/var/lib/ollama-multigpu"
#: Home of the user that Ollama's own installer makes.
UPSTREAM_HOME = "/usr/share/ollama"

# Configuration.
CONFIGURATION = "/etc/ollama-multigpu"
ENVIRONMENT_DIRECTORY = CONFIGURATION + "/instances"
PLAN = CONFIGURATION + "/plan.json"
#: What was on the host before the collection took it over; `remove` gives it back.
ADOPTED = CONFIGURATION + "/adopted.json"
#: Directories outside the collection's own that it made; `remove` takes away those that are empty.
MADE = CONFIGURATION + "/directories.json"
#: The plans that were applied last, each in a directory of its own with what an instance needs to go back to it.
PLANS = CONFIGURATION + "/plans"
#: What is known of a kept plan (number, release, time, verdict, tokens/s). Written last: a kept plan without it is left
#: from a run that was killed.
PLAN_RECORD = "about.json"
#: What the instances were before a run began to change them, until the plan is written. Environments are in it.
BEFORE = CONFIGURATION + "/before.json"
#: Where the program of the host writes its metrics, and what else they need to know; absent where it writes none.
METRICS_SETTINGS = CONFIGURATION + "/metrics.json"
FACTS_DIRECTORY = "/etc/ansible/facts.d"
FACTS = FACTS_DIRECTORY + "/ollama_multigpu.fact"

# Programs.
INSTALLATION = "/usr/local/lib/ollama-multigpu"
RELEASES = INSTALLATION + "/releases"
#: A link to the release of the command, `releases/<version>`. The instances have links of their own.
CURRENT = INSTALLATION + "/current"
SERVER = CURRENT + "/bin/ollama"
ENGINE = CURRENT + "/lib/ollama/llama-server"
#: One link for each instance, to the release that it runs: `../releases/<version>`.
INSTANCE_RELEASES = INSTALLATION + "/instances"
#: Copies of the modules' Python libraries that stay on the host.
LIBRARIES = INSTALLATION + "/python"
#: A link to SERVER, for people and scripts.
COMMAND = "/usr/local/bin/ollama"
#: The program of the host: a zip file of Python with the line that names its interpreter. Below bin, where SELinux lets
#: systemd start it.
PROGRAM_DIRECTORY = INSTALLATION + "/program"
PROGRAM = PROGRAM_DIRECTORY + "/bin/ollama-multigpu"
#: A link to PROGRAM.
PROGRAM_COMMAND = "/usr/local/bin/ollama-multigpu"
#: The last file that is written into a release's directory: one without it is left from a run that was killed.
RELEASE_MARKER = ".complete"

#: What the program of the host has found out: the last verdict, and what it has tried to heal. Here wherever the
#: models are.
STATE_DIRECTORY = DEFAULT_MODELS_DIR
VERDICT = STATE_DIRECTORY + "/verdict.json"
HEALING = STATE_DIRECTORY + "/healing.json"

#: A directory for the textfile collector of node_exporter, as examples name it. That of Debian's package,
#: /var/lib/prometheus/node-exporter, is in a directory of the user prometheus; a pattern matches both.
METRICS = "/var/lib/ollama-metrics/node-exporter"

#: Which engines were seen computing since the boot, by instance.
SEEN_COMPUTING = "/run/ollama-multigpu/seen-computing"
#: Held by whoever changes or loads the instances; the kernel releases it when the process ends.
LOCK = "/run/ollama-multigpu/lock"
#: Held by whoever fetches models. What the fetch server's unit reads, and how far it is, lie beside it.
FETCH_LOCK = "/run/ollama-multigpu/fetch.lock"
FETCH_ENVIRONMENT = "/run/ollama-multigpu/fetch.env"
FETCH_PROGRESS = "/run/ollama-multigpu/fetch.json"
#: How far models are loaded by whoever loads them.
LOAD_PROGRESS = "/run/ollama-multigpu/load.json"
#: Held by a benchmark for as long as the instances are stopped for it.
BENCHMARK_LOCK = "/run/ollama-multigpu/benchmark.lock"

# Units.
UNIT_DIRECTORY = "/etc/systemd/system"
#: Where an administrator's drop-ins for the instances may lie; the collection itself writes none.
DROP_IN_DIRECTORIES = (UNIT_DIRECTORY, "/run/systemd/system")
TEMPLATE_UNIT = "ollama@.service"
TEMPLATE_UNIT_FILE = UNIT_DIRECTORY + "/" + TEMPLATE_UNIT
#: Matches the units of all instances, for systemctl and for glob.
INSTANCE_UNITS = "ollama@*.service"
#: A server that fetches models while the instances serve: no GPU, loopback, a store of its own.
FETCH_UNIT = "ollama-fetch.service"
#: Gone after a reboot, so that this server is never started at boot.
FETCH_UNIT_FILE = "/run/systemd/system/" + FETCH_UNIT
#: An Ollama with the default settings, which a benchmark measures while the instances are stopped, and the unit that
#: starts them again when the benchmark has ended. Both are gone after a reboot, which starts the instances as well.
UNTOUCHED_UNIT = "ollama-untouched.service"
UNTOUCHED_UNIT_FILE = "/run/systemd/system/" + UNTOUCHED_UNIT
RESTORE_UNIT = "ollama-benchmark-restore.service"
RESTORE_UNIT_FILE = "/run/systemd/system/" + RESTORE_UNIT
#: Makes the GPUs' device nodes and waits for the planned GPUs, before an instance starts.
GPUS_UNIT = "ollama-gpus.service"
GPUS_UNIT_FILE = UNIT_DIRECTORY + "/" + GPUS_UNIT
#: Loads the models of an instance after each of its starts, and proves them.
READY_UNIT = "ollama-ready@.service"
READY_UNIT_FILE = UNIT_DIRECTORY + "/" + READY_UNIT
#: Checks the host against its plan, and when.
CHECK_UNIT = "ollama-check.service"
CHECK_UNIT_FILE = UNIT_DIRECTORY + "/" + CHECK_UNIT
CHECK_TIMER = "ollama-check.timer"
CHECK_TIMER_FILE = UNIT_DIRECTORY + "/" + CHECK_TIMER
#: Loads the rules of who may connect to the instances, in a table of nftables of its own.
FIREWALL_UNIT = "ollama-firewall.service"
FIREWALL_UNIT_FILE = UNIT_DIRECTORY + "/" + FIREWALL_UNIT
FIREWALL_RULES = CONFIGURATION + "/firewall.nft"
FIREWALL_TABLE = "ollama_multigpu"
#: Loads them again whenever the unit of nftables empties all tables.
NFTABLES_DROP_INS = UNIT_DIRECTORY + "/nftables.service.d"
NFTABLES_DROP_IN = NFTABLES_DROP_INS + "/ollama-multigpu.conf"
#: The program of nftables, where the package of each distribution has it.
NFT = "/usr/sbin/nft"
#: What may manage the host's own rules.
FIREWALLD_UNIT = "firewalld.service"
#: The unit of an Ollama that another installer put on the host.
EXISTING_UNIT = "ollama.service"

#: Directories of a store beside its manifests, where no server looks (ollama/store_pulled.py).
PULLED_MANIFESTS = "pulled-manifests"
GIVEN_MANIFESTS = "given-manifests"

# Letters of a models directory: the others have a meaning in a systemd unit, or for a shell that people copy it to.
_MODELS_DIR = re.compile(r"(/[A-Za-z0-9._@+-]+)+/*\Z")
#: Directories of the system, which belong to more than one service; those below these may hold models.
_SYSTEM = frozenset(
    "/bin /home /lib /lib32 /lib64 /libx32 /media /mnt /opt /root /sbin /srv /usr /usr/bin /usr/lib /usr/lib64 "
    "/usr/libexec /usr/local /usr/local/bin /usr/local/lib /usr/local/sbin /usr/local/share /usr/sbin /usr/share "
    "/usr/src /var /var/cache /var/lib /var/log /var/mail /var/opt /var/spool".split()
)
#: Directories below which no models may be either: configuration, what the kernel shows, and what a reboot takes away
#: or every user may write.
_SYSTEM_TREES = ("/boot", "/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/var/run", "/var/lock", "/var/tmp")
#: Directories that the units of the program cannot write in (ProtectSystem=full, ProtectHome=read-only).
_CLOSED_TREES = ("/home", "/root", "/usr")
_OTHER_LETTERS = re.compile(r"[^A-Za-z0-9._@+/-]")
_INSTANCE_UNIT = re.compile(r"ollama@(.+)\.service\Z")


def unit(instance: str) -> str:
    """Return the unit of an instance: "ollama@gpu0-1.service"."""
    return "ollama@%s.service" % instance


def instance_of(unit_name: Optional[str]) -> Optional[str]:
    """Return the instance of a unit: "gpu0-1" of "ollama@gpu0-1.service"; None for other units."""
    match = _INSTANCE_UNIT.match(unit_name or "")
    return match.group(1) if match else None


def environment_file(instance: str) -> str:
    """Return the environment file of an instance, which its unit reads."""
    return "%s/%s.env" % (ENVIRONMENT_DIRECTORY, instance)


def is_environment_file(path: str) -> bool:
    """Return whether a path is one of `environment_file`."""
    return posixpath.dirname(path) == ENVIRONMENT_DIRECTORY and path.endswith(".env")


def instance_plan(instance: str) -> str:
    """Return the plan of an instance as it is configured: what is loaded after its start."""
    return "%s/%s.json" % (ENVIRONMENT_DIRECTORY, instance)


def is_instance_plan(path: str) -> bool:
    """Return whether a path is one of `instance_plan`."""
    return posixpath.dirname(path) == ENVIRONMENT_DIRECTORY and path.endswith(".json")


def ready_unit(instance: str) -> str:
    """Return the unit that loads the models of an instance: "ollama-ready@gpu0-1.service"."""
    return READY_UNIT.replace("@.", "@%s." % instance)


def release(version: str) -> str:
    """Return the directory of a release."""
    return "%s/%s" % (RELEASES, version)


def release_marker(version: str) -> str:
    """Return the file that says that a release was put in place completely, with its checksum."""
    return posixpath.join(release(version), RELEASE_MARKER)


def kept_plan(number: int) -> str:
    """Return the directory of a kept plan: "/etc/ollama-multigpu/plans/3"."""
    return "%s/%d" % (PLANS, number)


def kept_files(number: int, instances: Iterable[str]) -> Dict[str, str]:
    """Return {file in force: its copy of a kept plan}: the plan, the unit, and the environment of each instance.

    Args:
        number: of the kept plan.
        instances: names of the instances of that plan.
    """
    sources = [PLAN, TEMPLATE_UNIT_FILE, *map(environment_file, instances)]
    return {path: posixpath.join(kept_plan(number), kept_name(path)) for path in sources}


def kept_name(path: str) -> str:
    """Return where the copy of a file in force lies in the directory of a kept plan: "instances/gpu0.env"."""
    if posixpath.dirname(path) == ENVIRONMENT_DIRECTORY:
        return posixpath.relpath(path, CONFIGURATION)
    return posixpath.basename(path)


def models_dir_problem(text: str) -> Optional[str]:
    """Return what is wrong with a models directory and what to do, as the end of a sentence; None where it is fine."""
    wrong = sorted(set(_OTHER_LETTERS.findall(text)))
    if text.startswith("/") and wrong:
        return (
            "contains %s; use letters, digits and . _ @ + - only, which have no meaning of their own in a systemd unit"
            % " and ".join(map(repr, wrong))
        )
    if not _MODELS_DIR.match(text) or ".." in text.split("/"):
        return "is not an absolute path without '..'; give one such as %s" % DEFAULT_MODELS_DIR
    path = posixpath.normpath(text)
    tree = next((tree for tree in _SYSTEM_TREES if (path + "/").startswith(tree + "/")), path)
    if path in _SYSTEM or tree in _SYSTEM_TREES or path in (CONFIGURATION, INSTALLATION):
        return "is a directory of the system or below one; give one of its own, such as %s" % DEFAULT_MODELS_DIR
    return None


def metrics_directory_problem(text: str) -> Optional[str]:
    """Return what is wrong with a directory for metrics and what to do, as the end of a sentence; None where it is
    fine."""
    path = posixpath.normpath(text)
    if not _MODELS_DIR.match(text) or ".." in text.split("/"):
        return "is not an absolute path of letters, digits and . _ @ + -, without '..'; give one such as %s" % METRICS
    if path in _SYSTEM or any((path + "/").startswith(tree + "/") for tree in _SYSTEM_TREES + _CLOSED_TREES):
        return "is a directory of the system or below one; give one of its own, such as %s" % METRICS
    return None


def directory(text: Optional[str]) -> str:
    """Return a path as a directory is compared by it, "" for none."""
    return posixpath.normpath(text) if text else ""


def metrics_file(place: str) -> str:
    """Return the file with the metrics of the host, in the directory `place`."""
    return posixpath.join(place, "ollama_multigpu.prom")


def stores(models_dir: str) -> str:
    """Return the parent of the instances' stores. It belongs to root."""
    return models_dir.rstrip("/") + "/instances"


def store(models_dir: str, instance: str) -> str:
    """Return the store of an instance: a models directory of Ollama, and the home of its service, which owns it."""
    return posixpath.join(stores(models_dir), instance)


def fetch_store(models_dir: str) -> str:
    """Return the store of the server that fetches models, on the file system of the instances' stores."""
    return models_dir.rstrip("/") + "/fetch"


def instance_release(instance: str) -> str:
    """Return the link to the release that an instance runs."""
    return posixpath.join(INSTANCE_RELEASES, instance)


def server(instance: str) -> str:
    """Return the program that an instance runs; "%i" stands for its name in the template unit."""
    return posixpath.join(instance_release(instance), "bin/ollama")


def untouched_store(models_dir: str) -> str:
    """Return the store of the Ollama that a benchmark compares with, on the file system of the instances' stores."""
    return models_dir.rstrip("/") + "/untouched"


def cuda_cache(store_path: str) -> str:
    """Return the directory of the driver's cache of kernels in the directory of an instance.

    The CUDA 13 library of a release holds PTX only (Ollama's llama/server/CMakePresets.json, llama_cuda_v13_linux): the
    driver compiles the kernels when they are first used, and keeps them here.
    """
    return posixpath.join(store_path, ".nv", "ComputeCache")


def blobs(store_path: str) -> str:
    """Return the directory of a store's blobs."""
    return posixpath.join(store_path, "blobs")


def blob(store_path: str, digest: str) -> str:
    """Return the file of a blob.

    Args:
        store_path: a models directory.
        digest: "sha256:<hex>", or "sha256-<hex>" as the file is named.
    """
    return posixpath.join(blobs(store_path), digest.replace(":", "-"))


def manifests(store_path: str) -> str:
    """Return the directory of a store's manifests."""
    return posixpath.join(store_path, "manifests")


def below(root: str, path: str) -> str:
    """Return an absolute path as it is below another root; for tests, where `root` is not "/"."""
    return posixpath.join(root, path.lstrip("/"))
