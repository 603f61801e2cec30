# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the role ollama_gateway puts on a host, as entries for the module instance_files. Pure."""

from __future__ import annotations

import json
from typing import Any, Iterable, Mapping, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.files import CONFIGURATION, File, files, named
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.inputs import (
    DIRECTORY,
    SELF_SIGNED,
    SOCKET,
    gateway,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError
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
#: Group of the service, from the package of the distribution.
GROUP = "haproxy"
#: Longest facts of a host that are read: those of 100 models on 8 GPUs have some 50 KiB.
_LONGEST_FACTS = 4 * 1024 * 1024
#: Packages of the distribution, and a program by which each is recognised.
PROGRAMS = {"haproxy": "/usr/sbin/haproxy", "openssl": "/usr/bin/openssl", "keepalived": "/usr/sbin/keepalived"}
TLS = ("self_signed", "given", "none")


def role_files(settings: Mapping[str, Any], facts: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what the role puts in place.

    Args:
        settings: see inputs.gateway and virtual_address.virtual_address; also `tls`.
        facts: {GPU host: the content of its facts file}.
        texts: `lua`, `unit`, `address_unit` and `check`, the files of the role; `certificate` and `certificate_key`
            where tls is given; `ca`, the certificates of the gateways of the hosts, where there are any.

    Returns:
        dict: `files`, everything that the configurations refer to and their drafts; `configurations`, haproxy.cfg and
        keepalived.conf themselves; `packages` of the distribution, and `programs` by which they are recognised;
        `certificate_names`, the names for a certificate that the host makes; `shares_address`, whether there is a
        keepalived.conf.

    Raises:
        GatewayError: see inputs.gateway.
    """
    kind = settings["tls"]
    if kind not in TLS:
        raise GatewayError("ollama_gateway_tls is %r; it may be: %s." % (kind, ", ".join(TLS)))
    beside = []
    certificate: Optional[str] = SELF_SIGNED if kind == "self_signed" else None
    if kind == "given":
        both = _pem(texts["certificate"], "CERTIFICATE") + _pem(texts["certificate_key"], "PRIVATE KEY")
        beside.append(named("certificate", "pem", both))
        certificate = "%s/%s" % (DIRECTORY, beside[-1].name)
    settings = dict(settings, upstream=dict(settings.get("upstream") or {}))
    if settings["upstream"]:
        given = settings["upstream"].get("addresses") or {}
        settings["upstream"]["addresses"] = {**settings["gpu_host_addresses"], **given}
    if settings["upstream"] and texts.get("ca"):
        beside.append(named("gateways", "pem", _pem(texts["ca"], "CERTIFICATE")))
        settings["upstream"]["ca_file"] = "%s/%s" % (DIRECTORY, beside[-1].name)
    shared = virtual_address(settings)
    without = {"openssl": kind != "self_signed", "keepalived": shared is None}
    programs = {name: path for name, path in PROGRAMS.items() if not without.get(name)}
    wanted = gateway(settings, {host: _facts(host, text) for host, text in facts.items()}, certificate)
    *others, configuration = files(wanted, texts["lua"])
    of_address, shared_configuration = _of_address(shared, texts)
    return {
        "files": [
            {"path": DIRECTORY, "state": "directory", "owner": "root", "group": GROUP, "mode": "0750"},
            {"path": UNIT_FILE, "content": texts["unit"], "owner": "root", "group": "root", "mode": "0644"},
            *(_entry(file) for file in (*beside, *others, File(DRAFT, configuration.content))),
            *of_address,
        ],
        "configurations": [_entry(File(CONFIGURATION, configuration.content)), shared_configuration],
        "packages": list(programs),
        "programs": list(programs.values()),
        "certificate_names": _alternative_names(
            wanted.host_names, (wanted.listen_address, settings.get("address"), shared.ip if shared else None)
        ),
        "shares_address": shared is not None,
    }


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
        "diff": file.name.endswith((".map", ".tsv", ".py", KEEPALIVED)) and not file.name.startswith("keys"),
    }


def _facts(host: str, text: str) -> dict[str, Any]:
    if len(text) > _LONGEST_FACTS:
        raise GatewayError("The facts of %s are longer than %d bytes." % (host, _LONGEST_FACTS))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise GatewayError("The facts of %s are no JSON object: run the playbook gpufleet.ollama.site on it." % host)
    return found


def _pem(text: str, needed: str) -> str:
    if "-----BEGIN" not in text or needed + "-----" not in text:
        raise GatewayError("A file of the certificate has no %s in PEM form." % needed)
    return text if text.endswith("\n") else text + "\n"


def _alternative_names(names: Iterable[str], given: Iterable[Any]) -> str:
    """The names and addresses of a certificate as openssl takes them (x509v3_config, Subject Alternative Name)."""
    found = [addresses.ip_address(str(address)) for address in (*names, *given)]
    ips = dict.fromkeys(ip for ip in found if ip and not addresses.is_wildcard(ip))
    others = [name for name in names if not addresses.ip_address(name)]
    return ",".join(["DNS:%s" % name for name in others] + ["IP:%s" % ip for ip in ips])
