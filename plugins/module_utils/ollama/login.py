# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""User name and password of a registry, as the user gives them. Pure.

Ollama itself can use none: it signs with a key of its own, and ignores the fields of /api/pull (server/auth.go and
server/routes.go, PullHandler, 0.30 to 0.33). So models of such a registry are downloaded by this collection
(downloaded.py), and the password stays in the memory of its processes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

USERNAME = "ollama_multigpu_registry_username"
PASSWORD = "ollama_multigpu_registry_password"


class LoginRefused(Exception):
    """The registry does not let the user in. The text is a phrase ("refuses ...") without the password."""


@dataclass(frozen=True)
class Login:
    """User name and password of one registry.

    Attributes:
        username: of the user.
        password: of the user.
    """

    username: str
    password: str = field(repr=False)

    def basic(self) -> str:
        """Return the header field Authorization."""
        plain = ("%s:%s" % (self.username, self.password)).encode("utf-8")
        return "Basic " + base64.b64encode(plain).decode("ascii")


def login_options() -> dict[str, Any]:
    """Return the options `registry_username` and `registry_password` of a module."""
    return dict(registry_username=dict(type="str"), registry_password=dict(type="str", no_log=True))


def login_problem(username: Any, password: Any, registry: Any) -> Optional[str]:
    """Return what is wrong with a login, in words; None where nothing is, or where there is none.

    Args:
        username, password: of the user.
        registry: that they are for.
    """
    given = [name for name, value in ((USERNAME, username), (PASSWORD, password)) if value not in (None, "")]
    if not given:
        return None
    if len(given) == 1:
        return "%s is given without %s: give both." % (given[0], PASSWORD if given[0] == USERNAME else USERNAME)
    if ":" in str(username):
        return "%s has a colon, which no user name of a registry can have: give the name alone." % USERNAME
    if not registry:
        return (
            "%s is given, and ollama_multigpu_registry is empty: name the registry that it is for, because it is sent "
            "to no other." % USERNAME
        )
    return None


def login_of(options: Mapping[str, Any]) -> Optional[Login]:
    """Return the login of checked options `registry_username` and `registry_password`; None where they have none.

    Raises:
        LoginRefused: it cannot be one.
    """
    username, password = options.get("registry_username"), options.get("registry_password")
    problem = login_problem(username, password, options.get("registry"))
    if problem:
        raise LoginRefused(problem)
    return Login(str(username), str(password)) if username else None
