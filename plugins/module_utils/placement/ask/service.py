# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What all Ollama services of a host have in common: release, variables, directory, address and ports; checked."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from ...common import addresses, paths
from ...releases.release import Release
from ..errors import PlacementError
from ..shapes import PlanRequest
from .parameters import whole_number


@dataclasses.dataclass(frozen=True)
class Service:
    """What all Ollama services of a host have in common.

    Attributes:
        release: the release that is planned for.
        variables: the user's checked service variables.
        models_dir: directory that holds the stores of the instances.
        listen_address: where the instances listen.
        base_port: port of the first instance; the others follow.
        advertise_address: what clients use, or None where they use the address that the instances listen on.
    """

    release: Release
    variables: dict[str, str]
    models_dir: str
    listen_address: str
    base_port: int
    advertise_address: Optional[str] = None


def service_of(release: Release, variables: dict[str, str], request: PlanRequest) -> Service:
    """The checked options.

    Raises:
        PlacementError: the first value that cannot be.
    """
    address = check_address(request.listen_address)
    port = whole_number(request.base_port, "base_port", 1)
    check_port(port)
    advertised = check_advertised(request.advertise_address, address)
    return Service(release, variables, check_directory(request.models_dir), address, port, advertised)


def check_address(listen_address: Any) -> str:
    """The listen address as a plan writes it: a host name, or an IP address without the brackets of IPv6 in URLs.

    Raises:
        PlacementError: neither of them.
    """
    found = addresses.host(listen_address)
    if found is None:
        raise PlacementError(
            "Listen address %r is neither an IP address nor a host name; use for example 127.0.0.1, 0.0.0.0 or ::, and "
            "base_port for the port." % (listen_address,)
        )
    return found


def check_advertised(advertise_address: Any, listen_address: str) -> Optional[str]:
    """The address that clients use, in its usual form; None where none is given.

    Raises:
        PlacementError: one that clients cannot use.
    """
    if advertise_address in (None, ""):
        return None
    problem = addresses.advertise_problem(advertise_address, listen_address)
    if problem:
        raise PlacementError("advertise_address %r %s." % (advertise_address, problem))
    return addresses.host(advertise_address)


def check_directory(models_dir: Any) -> str:
    """The directory without a slash at its end.

    Raises:
        PlacementError: not an absolute path, or one with characters that have a meaning in a systemd unit.
    """
    problem = paths.models_dir_problem(str(models_dir))
    if problem:
        raise PlacementError("models_dir %r %s." % (models_dir, problem))
    return str(models_dir).rstrip("/")


def check_port(port: int, base_port: Optional[int] = None) -> None:
    """Refuse a port that cannot be.

    Args:
        port: the port to check.
        base_port: where given, the port is that of a later instance.
    """
    if port > addresses.HIGHEST_PORT:
        raise PlacementError(
            "Port %d is above %d, and Ollama would silently take 11434 instead; give a lower base_port%s."
            % (port, addresses.HIGHEST_PORT, "" if base_port is None else " than %d" % base_port)
        )
