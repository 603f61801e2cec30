# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The certificate of a gateway: one that is given, or one that its host makes. Pure.

A host makes an authority of its own once. What clients trust is that authority, so that they need nothing new where
the names of the gateway change and the host makes another certificate.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable, Mapping, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import addresses
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.files import File, named
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.host_names import host_names
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.inputs import DIRECTORY, listen_address
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

GIVEN, SELF_SIGNED = "given", "self_signed"
TLS = (SELF_SIGNED, GIVEN, "none")


@dataclasses.dataclass(frozen=True)
class Certificate:
    """The certificate of a gateway.

    Attributes:
        path: of certificate and key on the host; None = no TLS.
        file: a given one; None = the host makes it, or there is none.
        names: for a certificate that the host makes, as openssl takes them (x509v3_config, Subject Alternative Name);
            "" for a given one, and where there is none.
    """

    path: Optional[str]
    file: Optional[File] = None
    names: str = ""


def certificate(settings: Mapping[str, Any], texts: Mapping[str, str], shared_ip: Optional[str]) -> Certificate:
    """Return the certificate of a gateway. One for other names has another path, so that the host makes it anew.

    Args:
        settings: see inputs.gateway; also `tls`.
        texts: `certificate` and `certificate_key` in PEM form, where tls is given.
        shared_ip: the IP address that the gateway shares with others; None = none.

    Raises:
        GatewayError: an unknown `tls`, a text that is no certificate or no key, or names that are none.
    """
    kind = settings["tls"]
    if kind not in TLS:
        raise GatewayError("ollama_gateway_tls is %r; it may be: %s." % (kind, ", ".join(TLS)))
    if kind == GIVEN:
        both = pem(texts["certificate"], "CERTIFICATE") + pem(texts["certificate_key"], "PRIVATE KEY")
        file = named("certificate", "pem", both)
        return Certificate("%s/%s" % (DIRECTORY, file.name), file)
    if kind == SELF_SIGNED:
        ips = (listen_address(settings["listen_address"]), settings.get("address"), shared_ip)
        names = _alternative_names(host_names(settings), ips)
        return Certificate("%s/%s" % (DIRECTORY, named("self-signed", "pem", names).name), names=names)
    return Certificate(None)


def pem(text: str, needed: str) -> str:
    """Return a text in PEM form that has what is needed, with a line break at its end.

    Raises:
        GatewayError: it does not have it.
    """
    if "-----BEGIN" not in text or needed + "-----" not in text:
        raise GatewayError("A file of the certificate has no %s in PEM form." % needed)
    return text if text.endswith("\n") else text + "\n"


def _alternative_names(names: Iterable[str], given: Iterable[Any]) -> str:
    """The names and addresses of a certificate as openssl takes them (x509v3_config, Subject Alternative Name)."""
    found = [addresses.ip_address(str(address)) for address in (*names, *given)]
    ips = dict.fromkeys(ip for ip in found if ip and not addresses.is_wildcard(ip))
    others = [name for name in names if not addresses.ip_address(name)]
    return ",".join(["DNS:%s" % name for name in others] + ["IP:%s" % ip for ip in ips])
