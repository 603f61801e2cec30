# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which values are secret, and how what holds them is shown. Pure.

This is the only rule of it. A value may be read by everybody only if the collection knows what it is: variables that
Ollama, its engine or CUDA read, without a word in their name that says otherwise. The value of any other variable is
secret, and so are credentials and queries in addresses.

The true values are in three places on a host: the environment file of an instance (root and the service user), its
copy in a kept plan (root) and the record of an adopted Ollama (root). Everywhere else (plan, results, differences,
messages) HIDDEN stands for them.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional

from . import environment_file, service_variables

#: What stands for the value of a secret variable.
HIDDEN = "(hidden)"
#: What stands for user name and password, or for the query, in an address.
BLANK = "***"
#: What Ansible itself puts in the place of an option that is not logged.
NOT_LOGGED = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
#: Variables of proxies, whose addresses may hold a password.
PROXIES = frozenset(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"))

_SECRET_WORDS = re.compile(
    r"KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|AUTH|BEARER|COOKIE|PRIVATE|SIGNATURE|JWT|DSN", re.IGNORECASE
)
# Variables of others that hold no secret by what they are for.
_HARMLESS = frozenset(("LANG", "LANGUAGE", "TZ", "TERM", "GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "NO_PROXY"))
# Values of a switch whose name has such a word (OLLAMA_AUTH).
_SWITCHED = ("", "0", "1", "true", "false", "yes", "no", "on", "off", "t", "f")
_HARMLESS_PREFIXES = ("LC_", "CUDA_", "GGML_", "NVIDIA_", "NCCL_", "OMP_")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Words of a text, with their quotes and without. Each is looked at once: an expression for a whole address would try
# every slash of a long text as its beginning.
_WORD = re.compile(r"\S+")
_UNQUOTED = re.compile(r"[^\s'\"]+")
_SCHEME_IN_WORD = re.compile(r"[A-Za-z0-9+.-]://")
# Of user:password@host without a scheme: what may be the user, its first character, and what comes after the @. A
# digest after the @ belongs to a model's name.
_USER = re.compile(r"[^/@:=]+")
_FIRST_OF_USER = re.compile(r"(?<![\w/.:*-]).")
_HOST = re.compile(r"(?!sha256:)[\w\[]")


def is_secret(name: str, value: Any) -> bool:
    """Return whether the value of an environment variable is secret.

    Args:
        name: of the variable.
        value: of the variable: a text, number or boolean.
    """
    text = str(value)
    if text == HIDDEN or without_credentials(text) != text or shown_address(text) != text:
        return True
    variable = service_variables.find(name)
    if variable.owner == service_variables.UNKNOWN or not _is_known(name):
        return True
    return says_secret(name) and not (variable.type == service_variables.SWITCH and text.lower() in _SWITCHED)


def says_secret(name: str) -> bool:
    """Return whether a name says that its value is secret: for names outside an environment, of which nothing is
    known."""
    return _SECRET_WORDS.search(name) is not None


def _is_known(name: str) -> bool:
    upper = name.upper()
    return (
        name in service_variables.TABLE
        or name in service_variables.OF_THE_PROCESS
        or name.startswith(("LLAMA_ARG_", *_HARMLESS_PREFIXES))
        or upper in PROXIES
        or upper in _HARMLESS
    )


def shown(name: str, value: Any) -> Any:
    """Return the value of an environment variable as everybody may read it: itself, or HIDDEN."""
    return HIDDEN if value is not None and is_secret(name, value) else value


def shown_environment(variables: Mapping[str, Any]) -> Dict[str, Any]:
    """Return environment variables as everybody may read them."""
    return {name: shown(name, value) for name, value in variables.items()}


def secret_values(variables: Mapping[str, Any]) -> Dict[str, Any]:
    """Return those environment variables whose values are secret, with their values."""
    return {name: value for name, value in variables.items() if value is not None and is_secret(name, value)}


def hidden_names(variables: Mapping[str, Any]) -> List[str]:
    """Return the names of the environment variables whose values were hidden, sorted."""
    return sorted(name for name, value in variables.items() if value == HIDDEN)


def filled(variables: Mapping[str, Any], secrets: Mapping[str, Any]) -> Dict[str, Any]:
    """Return environment variables with their true values.

    Args:
        variables: as everybody may read them.
        secrets: {name: true value}; it may have more names.

    Raises:
        ValueError: the value of one is not in `secrets`. One sentence.
    """
    missing = [name for name in hidden_names(variables) if secrets.get(name) is None]
    if missing:
        raise ValueError(
            "The values of %s are hidden in the plan, and were not given: give the variables that the plan was made "
            "with." % ", ".join(missing)
        )
    return {
        name: environment_file.value_text(secrets[name]) if value == HIDDEN else value
        for name, value in variables.items()
    }


def shown_plan(plan: Mapping[str, Any]) -> Dict[str, Any]:
    """Return a plan as everybody may read it. One of another shape (a damaged file) is returned without instances that
    are none."""
    instances = plan.get("instances")
    if not isinstance(instances, list):
        return dict(plan)
    return dict(plan, instances=[_shown_entry(entry) for entry in instances])


def _shown_entry(entry: Any) -> Any:
    environment = entry.get("environment") if isinstance(entry, dict) else None
    return dict(entry, environment=shown_environment(environment)) if isinstance(environment, dict) else entry


def shown_address(text: str) -> str:
    """Return one address without user name, password and query.

    All that comes before the last @ is taken for credentials: a password may have a / in it.
    """
    scheme = _SCHEME.match(text)
    start = scheme.end() if scheme else 0
    rest = text[start:]
    if scheme or "@" in rest:
        rest = re.sub(r"\?.*\Z", "?" + BLANK, rest, flags=re.DOTALL)
    if "@" in rest:
        rest = BLANK + "@" + rest.rpartition("@")[2]
    return text[:start] + rest


def filled_address(text: str, source: str) -> str:
    """Return an address with the credentials and the query that `shown_address` took away.

    Args:
        text: of shown_address.
        source: the address that it was made of, or one that begins with the same credentials.
    """
    if shown_address(source) == text:
        return source
    scheme = _SCHEME.match(source)
    credentials = source[scheme.end() if scheme else 0 :].rpartition("@")[0]
    return text.replace(BLANK + "@", credentials + "@", 1) if credentials else text


def without_credentials(text: str) -> str:
    """Return a text (a message, a line of a log) without user names, passwords and queries in its addresses."""
    text = _WORD.sub(lambda match: _without_user(match.group()), text)
    return _UNQUOTED.sub(lambda match: _without_bare_users(_without_query(match.group())), text)


def _without_user(word: str) -> str:
    """Return a word without what comes between the scheme of an address and the last @."""
    scheme, end = _SCHEME_IN_WORD.search(word), word.rfind("@")
    return word[: scheme.end()] + BLANK + word[end:] if scheme and end >= scheme.end() else word


def _without_query(word: str) -> str:
    """Return a word without the query of an address, also of one without scheme and host, as requests names it."""
    slash, last = word.find("/"), word.rfind("=")
    mark = word.find("?", slash) if slash >= 0 else -1
    if mark < 0 or last < mark + 2:
        return word
    end = word.find(")", last)
    return word[: mark + 1] + BLANK + (word[end:] if end >= 0 else "")


def _without_bare_users(word: str) -> str:
    """Return a word without user:password before each @ that has no scheme before it."""
    kept, start = [], 0
    at = word.find("@")
    while at >= 0:
        user = _bare_user(word, start, at)
        kept.append(word[start:at] if user is None else word[start:user] + BLANK)
        start, at = at, word.find("@", at + 1)
    return "".join(kept) + word[start:]


def _bare_user(word: str, start: int, at: int) -> Optional[int]:
    """Return where the user of user:password@host begins, None where there is none.

    Args:
        word: of a text.
        start: position of the @ before, 0 for none.
        at: position of the @.
    """
    if not _HOST.match(word, at + 1):
        return None
    for part in _USER.finditer(word, start, at):
        end = part.end()
        if end < at - 1 and word[end] == ":" and not word.startswith("//", end + 1):
            first = _FIRST_OF_USER.search(word, part.start(), end)
            if first:
                return first.start()
    return None


def take_options(module: Any) -> Dict[str, Any]:
    """Return the options of a module, and leave in it what its result and the log of the controller may show of them.

    Ansible returns the options with each result, and masks in it every text that is the value of an option which is not
    logged: words of an environment would be masked in the plan. So what is not logged is replaced in what is returned,
    and nothing is masked.

    Args:
        module: an AnsibleModule.
    """
    options = module.params
    module.params = {
        name: NOT_LOGGED if module.argument_spec.get(name, {}).get("no_log") and value is not None else _shown(value)
        for name, value in options.items()
    }
    module.no_log_values.clear()
    return options


def _shown(value: Any) -> Any:
    """An option without credentials in any of its texts."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, dict):
        return {key: _shown(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_shown(one) for one in value]
    return value
