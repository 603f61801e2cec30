# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the GPU hosts of a gateway say of their endpoints, or said before where they cannot be reached. Pure."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Mapping, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.endpoints import EndpointsError
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import InvalidName
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints import document, hosts_of
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

#: Longest facts of a host that are read: those of 100 models on 8 GPUs have some 50 KiB.
_LONGEST_FACTS = 4 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of the GPU hosts.

    Attributes:
        hosts: {host: what plan_endpoints gave for its applied plan}.
        not_reached: a sentence about each host that could not be reached.
    """

    hosts: Mapping[str, Mapping[str, Any]]
    not_reached: tuple[str, ...]


def known(facts: Mapping[str, Optional[str]], before: str) -> Known:
    """Return what is known of the GPU hosts.

    Args:
        facts: {host: the content of its facts file; None where it cannot be reached}.
        before: what `remembered` gave in the run before; "" for nothing.

    Raises:
        GatewayError: the facts of a host are none, or nothing is known of any host.
    """
    missing = [host for host, text in facts.items() if text is None]
    past = _before(before) if missing and before else {}
    hosts = {host: _facts(host, text) for host, text in facts.items() if text is not None}
    hosts.update({host: past[host] for host in missing if host in past})
    if not hosts and missing:
        raise GatewayError("None of the hosts in ollama_gateway_gpu_hosts can be reached: %s." % ", ".join(missing))
    return Known(hosts, tuple(_sentence(host, host in past) for host in missing))


def remembered(hosts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of the file from which a later run takes what it cannot ask a host for.

    Raises:
        GatewayError: what a host says is no endpoint.
    """
    try:
        return json.dumps(document(hosts), indent=1, sort_keys=True) + "\n"
    except (EndpointsError, InvalidName) as error:
        raise GatewayError(str(error))


def _sentence(host: str, is_known: bool) -> str:
    if is_known:
        return "The GPU host %s cannot be reached. Its endpoints are those of the run before." % host
    return "The GPU host %s cannot be reached, and no run has read its endpoints yet. It is left out." % host


def _before(text: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        return hosts_of(json.loads(text))
    except (ValueError, RecursionError, EndpointsError) as error:
        raise GatewayError("The endpoints of the run before cannot be read: %s" % error)


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
