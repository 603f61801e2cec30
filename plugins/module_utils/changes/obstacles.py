# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What on a host keeps a run from its end: said before anything is changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..common import addresses, paths
from ..releases import archives
from .endpoints import EndpointsError, endpoints
from .schema import ManagedFile, Wanted


def host_obstacles(host: dict[str, Any], wanted: Wanted, name: str, known_releases: tuple[str, ...] = ()) -> list[str]:
    """Return sentences about why a host cannot run the services at all, whatever the plan is.

    Args:
        host: of module host_info, read with the address to listen on.
        wanted: what the role's variables say.
        name: the host's name, for the sentences.
        known_releases: releases whose checksum is known, for the remedy.
    """
    found = []
    if not host["systemd"]:
        found.append("%s is not run by systemd, which the services need: use a host that is." % name)
    architecture = archives.ARCHITECTURES.get(host["architecture"])
    if architecture is None:
        found.append(
            "%s is a %s machine; Ollama has releases for %s: use one of those."
            % (name, host["architecture"], " and ".join(archives.ARCHITECTURES))
        )
    elif not wanted.checksum:
        found.append(
            "The role knows no checksum of Ollama %s for %s: set ollama_multigpu_release_checksum to the archive's "
            "SHA-256 or to the "
            "address of the release's sha256sum.txt, or use %s."
            % (wanted.version, architecture, ", ".join(known_releases) or "another release")
        )
    elif archives.is_plain_http(wanted.checksum):
        found.append(
            "The role knows the SHA-256 of Ollama %s for other machines than %s only, and %s would vouch for itself "
            "over plain http: set ollama_multigpu_release_checksum to the archive's SHA-256, or "
            "ollama_multigpu_release_url to an https address." % (wanted.version, architecture, wanted.checksum)
        )
    if host["address_available"] is False:
        found.append(
            "ollama_multigpu_listen_address is %s, which is no address of %s, so nothing could listen on it: give one "
            "of the host's "
            "addresses, 127.0.0.1, or 0.0.0.0 for all of them (to be acknowledged)." % (wanted.listen_address, name)
        )
    return found


def plan_obstacles(plan: dict[str, Any], host: dict[str, Any], adopt: bool = False) -> list[str]:
    """Return sentences about what keeps a plan from being applied on a host.

    Args:
        plan: of module placement_info.
        host: of module host_info.
        adopt: whether an Ollama from elsewhere is to be taken over.
    """
    found = _infeasible(plan) + _foreign_ollama(plan, host, adopt)
    if not host["zstd"] and plan["ollama_version"] not in host["release"]["complete"]:
        found.append(
            "The program zstd is missing on the host and the release is packed with it: install the package zstd."
        )
    existing = host["existing"]
    given_back = [existing["unit"]] if existing and adopt else []
    for instance in plan["instances"]:
        found += _port(instance, host["listeners"], given_back)
    return found


def unknown_addresses(plan: dict[str, Any], host: dict[str, Any], name: str) -> list[str]:
    """Return the sentence about instances whose address for clients is not known, which is to be written down.

    Args:
        plan: of module placement_info.
        host: of module host_info.
        name: the host's name, for the sentence.
    """
    try:
        endpoints(name, plan, host["default_address"])
    except EndpointsError as error:
        return [str(error)]
    return []


def _infeasible(plan: dict[str, Any]) -> list[str]:
    if plan["feasible"]:
        return []
    without_place = [model for model in plan["models"] if not model.get("fits")]
    reasons = dict.fromkeys(_reason(model, len(plan["models"])) for model in without_place if model["reason"])
    remedies = dict.fromkeys(str(remedy) for model in without_place for remedy in model.get("remedies") or [])
    listed = "; ".join(remedy[:-1] if remedy.endswith(".") else remedy for remedy in remedies)
    return ["The plan is not feasible: %s%s" % (" ".join(reasons), listed and " Remedies: %s." % listed)]


def _reason(model: dict[str, Any], models: int) -> str:
    """Why a model has no place, with its name where there are others."""
    return "%s: %s" % (model["name"], model["reason"]) if models > 1 else str(model["reason"])


def _foreign_ollama(plan: dict[str, Any], host: dict[str, Any], adopt: bool) -> list[str]:
    existing = host["existing"]
    if existing and not adopt and not host["adopted"]:
        return [
            "An Ollama that this role did not install is on the host (%s, %s, models in %s): set "
            "ollama_multigpu_existing to adopt to take "
            "over its models and settings, or remove it first."
            % (existing["path"], "running" if existing["active"] else "not running", existing["store"])
        ]
    if host["command"] == "foreign" and not adopt:
        return [
            "%s is a program that this role did not install: set ollama_multigpu_existing to adopt to replace it "
            "(the role's remove puts it back), or remove it first." % paths.COMMAND
        ]
    return []


def _port(instance: dict[str, Any], listeners: list[dict[str, Any]], given_back: list[str]) -> list[str]:
    """Sentence about a process of others that holds the port of an instance. `given_back`: units that are stopped
    before."""
    for listener in listeners:
        unit = listener.get("unit") or ""
        if (
            listener["port"] == instance["port"]
            and paths.instance_of(unit) is None
            and unit not in [*given_back, paths.FETCH_UNIT]
            and addresses.clash(addresses.without_brackets(instance["address"]), listener["address"])
        ):
            holder = [
                listener.get("process") or "another process",
                "(pid %s)" % listener["pid"] if listener.get("pid") else "",
                "of %s" % unit if unit else "",
            ]
            return [
                "Port %d, which instance %s is to listen on, is in use by %s: free it, or set "
                "ollama_multigpu_base_port to another."
                % (instance["port"], instance["name"], " ".join(filter(None, holder)))
            ]
    return []


def file_obstacles(needed: Iterable[ManagedFile], plan: dict[str, Any], host: dict[str, Any]) -> list[str]:
    """Return sentences about what lies where the role needs a file, directory or link and is not replaced by it.

    Module instance_files would refuse the same, but only after services were stopped.

    Args:
        needed: of wanted_files.wanted_files.
        plan: of module placement_info.
        host: of module host_info.
    """
    found: dict[str, str] = {}
    path = host["models_dir"]["path"]
    problem = paths.models_dir_problem(path)
    if problem:
        found[path] = "ollama_multigpu_models_dir leads to %s, which %s." % (path, problem)
    # In the order of the paths: what is wrong with a directory is wrong with all that lies in it.
    looked_at = {file.path: file for file in needed}
    for path in sorted({*host["files"], *looked_at}):
        entry, wanted = host["files"].get(path), looked_at.get(path)
        if entry is None:
            continue
        sentence = entry.get("problem")
        if not sentence and wanted and _is_refused(wanted, entry["kind"]):
            sentence = _in_the_way(path, wanted.state, entry)
        elif not sentence and path.startswith(paths.stores(plan["models_dir"]) + "/"):
            sentence = _of_others(path, entry, paths.USER)
        elif not sentence and wanted and wanted.state == "directory":
            sentence = _of_others(path, entry, str(wanted.owner))
        if sentence:
            found.setdefault(sentence.split(" ", 1)[0], sentence)
    closed = host["models_dir"].get("closed")
    if closed:
        found[closed] = (
            "The user %s cannot enter %s, which is above ollama_multigpu_models_dir (%s): let other users enter it "
            "(chmod o+x %s), or give another directory." % (paths.USER, closed, plan["models_dir"], closed)
        )
    entries = host["models_dir"]["entries"]
    if entries:
        found[plan["models_dir"]] = (
            "ollama_multigpu_models_dir is %s, which holds other things (%s): give a directory of its own, such as %s."
            % (plan["models_dir"], ", ".join(entries), paths.DEFAULT_MODELS_DIR)
        )
    return list(found.values())


def _of_others(path: str, entry: dict[str, Any], owner: str) -> str:
    """Sentence about a directory that exists and is not a directory of `owner`; "" where it is."""
    if entry["kind"] == "absent":
        return ""
    if entry["kind"] != "directory":
        return _in_the_way(path, "directory", entry)
    if (entry["owner"], entry["group"]) == (owner, owner):
        return ""
    remedy = "chown %s%s:%s %s" % ("-R " if owner == paths.USER else "", owner, owner, path)
    return (
        "%s belongs to %s:%s, not to %s:%s, and the role gives nothing that exists to another owner: move it away, or "
        "give it away yourself after a look at what is in it (%s)."
        % (path, entry["owner"], entry["group"], owner, owner, remedy)
    )


def _is_refused(wanted: ManagedFile, kind: str) -> bool:
    if wanted.path == paths.COMMAND:  # moved away on adoption; without it, _foreign_ollama says so
        return False
    # host_info looks behind a link where a directory may be one, as module instance_files does.
    replaced = {"directory": ("directory",), "file": ("file", "link"), "link": ("file", "link")}
    return kind not in ("absent",) + replaced[wanted.state]


def _in_the_way(path: str, state: str, entry: dict[str, Any]) -> str:
    if entry["kind"] == "link":
        return "%s is a link to %s, and the role needs a %s there that is no link: move it away." % (
            path,
            entry["target"],
            state,
        )
    kind = "special file, such as a FIFO or a device" if entry["kind"] == "other" else entry["kind"]
    return "%s is a %s, and the role needs a %s there: move it away." % (path, kind, state)
