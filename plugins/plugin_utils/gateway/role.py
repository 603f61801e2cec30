# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the role ollama_gateway puts on a host, as entries for the module instance_files. Pure."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.certificate import SELF_SIGNED, certificate, pem
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.files import CONFIGURATION, File, files, named
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.host_facts import known, remembered
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.inputs import DIRECTORY, SOCKET, gateway, warnings
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.lists import (
    checked_mapping,
    given_list,
    given_mapping,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.virtual_address import (
    VirtualAddress,
    keepalived,
    virtual_address,
)

UNIT_FILE = "/etc/systemd/system/ollama-gateway.service"
#: Of keepalived, where gateways share an address.
ADDRESS_UNIT_FILE = "/etc/systemd/system/ollama-gateway-address.service"
KEEPALIVED = "keepalived.conf"
#: What is checked before it becomes haproxy.cfg and keepalived.conf.
DRAFT, KEEPALIVED_DRAFT = "draft.cfg", "draft.conf"
#: What the unit runs to reload HAProxy.
RELOAD = "reload_gateway.py"
#: Group of the service, from the package of the distribution.
GROUP = "haproxy"
#: The endpoints that a run has read; a later one takes them for a GPU host that it cannot reach.
ENDPOINTS = "endpoints.json"
#: Packages of the distribution, and a program by which each is recognised.
PROGRAMS = {"haproxy": "/usr/sbin/haproxy", "openssl": "/usr/bin/openssl", "keepalived": "/usr/sbin/keepalived"}


def role_files(
    settings: Mapping[str, Any], facts: Mapping[str, Optional[str]], texts: Mapping[str, str], before: str = ""
) -> dict[str, Any]:
    """Return what the role puts in place.

    Args:
        settings: see inputs.gateway and virtual_address.virtual_address; also `tls`.
        facts: {GPU host: the content of its facts file; None where it cannot be reached}.
        texts: `lua`, `unit`, `reload`, `address_unit` and `check`, the files of the role; `certificate` and
            `certificate_key` where tls is given; `ca`, the certificates of the gateways of the hosts, if there are any.
        before: the content of endpoints.json of the run before; "" for none.

    Returns:
        dict: `files`, everything that the configurations refer to and their drafts; `configurations`, haproxy.cfg and
        keepalived.conf themselves; `packages` of the distribution, and `programs` by which they are recognised;
        `certificate` {path, names} that the host makes, names "" where it makes none; `in_use`, the paths of all of
        these, so that others whose names have a hash can be removed; `shares_address`, whether there is a
        keepalived.conf; `warnings`, a sentence about each GPU host that cannot be reached, and about each key with
        models that are not served.

    Raises:
        GatewayError: see inputs.gateway, host_facts.known and certificate.certificate.
    """
    given_list(settings, "gpu_hosts")
    settings = dict(settings, upstream=_upstream(settings))
    shared = virtual_address(settings)
    tls = certificate(settings, texts, shared.ip if shared else None)
    beside = [tls.file] if tls.file else []
    if settings["upstream"] and texts.get("ca"):
        beside.append(named("gateways", "pem", pem(texts["ca"], "CERTIFICATE")))
        settings["upstream"]["ca_file"] = _path(beside[-1].name)
    without = {"openssl": settings["tls"] != SELF_SIGNED, "keepalived": shared is None}
    programs = {name: path for name, path in PROGRAMS.items() if not without.get(name)}
    there = known(facts, before)
    made = gateway(settings, there.hosts, tls.path)
    *others, configuration = files(made, texts["lua"])
    beside.append(File(ENDPOINTS, remembered(there.hosts)))
    of_address, shared_configuration = _of_address(shared, texts)
    entries = [
        {"path": DIRECTORY, "state": "directory", "owner": "root", "group": GROUP, "mode": "0750"},
        {"path": UNIT_FILE, "content": texts["unit"], "owner": "root", "group": "root", "mode": "0644"},
        *(
            _entry(file)
            for file in (*beside, *others, File(RELOAD, texts["reload"]), File(DRAFT, configuration.content))
        ),
        *of_address,
    ]
    return {
        "files": entries,
        "configurations": [_entry(File(CONFIGURATION, configuration.content)), shared_configuration],
        "packages": list(programs),
        "programs": list(programs.values()),
        "certificate": {"path": tls.path or "", "names": tls.names},
        "in_use": [*(entry["path"] for entry in entries if entry.get("state") != "absent"), tls.path or ""],
        "shares_address": shared is not None,
        "warnings": [*there.not_reached, *warnings(made)],
    }


def _upstream(settings: Mapping[str, Any]) -> dict[str, Any]:
    """ollama_gateway_upstream with an address of each GPU host; nothing where the gateway speaks to instances."""
    upstream = dict(given_mapping(settings, "upstream"))
    if upstream:
        problem = "addresses in ollama_gateway_upstream is no dictionary"
        given = checked_mapping(upstream.get("addresses"), problem, "{gpu1: 192.0.2.1}")
        upstream["addresses"] = {**settings["gpu_host_addresses"], **given}
    return upstream


def _of_address(
    shared: Optional[VirtualAddress], texts: Mapping[str, str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The files for a shared address, and keepalived.conf itself; without one they are removed."""
    if shared is None:
        gone = [{"path": path, "state": "absent"} for path in (ADDRESS_UNIT_FILE, _path(KEEPALIVED_DRAFT))]
        return gone, {"path": _path(KEEPALIVED), "state": "absent"}
    check = named("check_gateway", "py", texts["check"])
    text = keepalived(shared, _path(check.name), SOCKET)
    unit = {
        "path": ADDRESS_UNIT_FILE,
        "content": texts["address_unit"],
        "owner": "root",
        "group": "root",
        "mode": "0644",
    }
    return [unit, _entry(check), _entry(File(KEEPALIVED_DRAFT, text))], _entry(File(KEEPALIVED, text))


def _path(name: str) -> str:
    return "%s/%s" % (DIRECTORY, name)


def _entry(file: File) -> dict[str, Any]:
    """An entry of instance_files. Contents are not shown: a key may be in them."""
    return {
        "path": _path(file.name),
        "content": file.content,
        "owner": "root",
        "group": GROUP,
        "mode": "0640",
        "diff": file.name.endswith((".map", ".tsv", ".py", ".json", KEEPALIVED)) and not file.name.startswith("keys"),
    }
