# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Variables of the role that are lists or dictionaries. The specification of the role lets texts through: it reads them
as lists or dictionaries for itself, and what comes here is the text. Pure."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

#: What a variable may look like, by its name without "ollama_gateway_".
_EXAMPLES = {
    "host_names": "[llm.example]",
    "origins": "[https://chat.example.org]",
    "acknowledged": "[keys]",
    "drain": "[gpu1, gpu2/gpu0]",
    "keys": "[{name: chat-ui, key: ...}]",
    "gpu_hosts": "[gpu1, gpu2]",
    "upstream": "{port: 11480, key: ..., ca: files/gpu-hosts.pem}",
    "virtual_address": "{address: 192.0.2.10/24, interface: eth0}",
}
#: Those with keys, whose values are not shown.
_SECRET = ("keys", "upstream")


def given_list(settings: Mapping[str, Any], name: str) -> Sequence[Any]:
    """Return a variable that is a list.

    Args:
        settings: the variables of the role by their names without "ollama_gateway_".
        name: of the variable.

    Raises:
        GatewayError: it is no list. The text has no key.
    """
    value = settings[name]
    shown = "no list" if name in _SECRET else "%r" % (value,)
    return checked_list(value, "ollama_gateway_%s is %s" % (name, shown), _EXAMPLES[name])


def checked_list(value: Any, problem: str, example: str) -> Sequence[Any]:
    """Return a list.

    Args:
        value: what may be one.
        problem: what is to be said where it is none.
        example: a good one.

    Raises:
        GatewayError: it is no list.
    """
    if not isinstance(value, (list, tuple)):
        raise GatewayError("%s; give a list such as %s." % (problem, example))
    return value


def given_mapping(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a variable that is a dictionary; an empty one where it has no value.

    Args:
        settings: the variables of the role by their names without "ollama_gateway_".
        name: of the variable.

    Raises:
        GatewayError: it is no dictionary. The text has no key.
    """
    value = settings.get(name)
    shown = "no dictionary" if name in _SECRET else "%r" % (value,)
    return checked_mapping(value, "ollama_gateway_%s is %s" % (name, shown), _EXAMPLES[name])


def checked_mapping(value: Any, problem: str, example: str) -> Mapping[str, Any]:
    """Return a dictionary; an empty one where there is no value.

    Args:
        value: what may be one.
        problem: what is to be said where it is none.
        example: a good one.

    Raises:
        GatewayError: it is no dictionary.
    """
    if value is None or value == "":
        return {}
    if not isinstance(value, Mapping):
        raise GatewayError("%s; give a dictionary such as %s." % (problem, example))
    return value
