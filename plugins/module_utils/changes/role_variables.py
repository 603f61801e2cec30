# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is wrong with the role's variables, beyond what its argument specification finds. Pure."""

from __future__ import annotations

import difflib
import re
from typing import Any, Callable, Optional

from ..common import addresses, exposure, hardening, networks, paths, secrets
from ..common.names import InvalidName, registry_host
from ..ollama.login import login_problem
from ..placement.ask import aliases, left_alone, own_adapters, own_source, speculative
from ..placement.ask.model_options import role_options, structure_problems
from ..placement.ask.parameters import whole_number
from ..placement.ask.user_variables import check_unchecked, check_variable
from ..placement.errors import PlacementError
from ..releases import archives
from .unit_file import client_problems

PREFIX = "ollama_multigpu_"
_VERSION = re.compile(r"\d+\.\d+\.\d+(-rc\d+)?\Z")
_URL = re.compile(r"https?://[^\s/]+(/\S*)?\Z")
_CHECKSUM = re.compile(r"((sha256:)?[0-9a-fA-F]{64}|https?://\S+)\Z")
#: Seconds between two checks.
_SHORTEST_INTERVAL = 30
#: Variables of one value, and those that are mappings. Addresses and environments may hold passwords.
_OF_ONE_VALUE = (
    "advertise_address",
    "base_port",
    "benchmark_compare_with",
    "benchmark_directory",
    "benchmark_label",
    "check_interval",
    "endpoints_file",
    "gateways",
    "headroom_bytes",
    "host_headroom_bytes",
    "listen_address",
    "metrics_directory",
    "models_dir",
    "plan_dir",
    "plan_file",
    "quiet_timeout",
    "registry",
    "registry_password",
    "registry_username",
    "release_checksum",
    "release_url",
    "report",
    "rollback_to",
    "sandbox",
    "slowdown_allowed",
    "version",
    "watch_time",
)
#: {name: the least value}. An empty text stands for none.
_WHOLE_NUMBERS = {
    "headroom_bytes": 0,
    "host_headroom_bytes": 0,
    "check_interval": 0,
    "slowdown_allowed": 0,
    "quiet_timeout": 0,
    "watch_time": 0,
    "rollback_to": 1,
}
#: What the role sets itself, for other plays.
_RESULTS = {PREFIX + "endpoints"}
_MAPPINGS = ("environment", "environment_unchecked")
#: Lists: what their entries are, and what is wrong with one.
_LISTS = {
    "allow_from": ("IP addresses and networks", networks.problem),
    "peers": ("IP addresses and networks", networks.problem),
    "devices": ("devices", hardening.device_problem),
}


def settings_problems(settings: dict[str, Any], names: list[str]) -> list[str]:
    """Return one sentence for each problem of the role's variables.

    Args:
        settings: {variable: value} of the variables that the role knows.
        names: all variables that carry the role's prefix.
    """
    values = {name[len(PREFIX) :]: value for name, value in settings.items() if value is not None}
    problems = name_problems(names, settings) + _wrong_types(values)
    problems += _numbers(values) + _places(values) + _release(values) + _acknowledged(values)
    problems += client_problems(values.get("listen_address"), values.get("allow_from"), values.get("peers"))
    problems += _environment(values, "environment", check_variable)
    problems += _environment(values, "environment_unchecked", check_unchecked)
    if settings.get(PREFIX + "models", ()) is None:
        values["models"] = []
    return problems + _given_twice(values) + _left_alone(values) + _models(values)


def name_problems(names: list[str], settings: dict[str, Any]) -> list[str]:
    """Return one sentence for each name that is not a variable of the role.

    Args:
        names: all variables that carry the role's prefix.
        settings: {variable: value} of the variables that the role knows.
    """
    return [_unknown(name, settings) for name in sorted(set(names) - set(settings) - _RESULTS)]


def _unknown(name: str, settings: dict[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(settings), n=1, cutoff=0.7)
    remedy = "did you mean %s?" % close[0] if close else "remove it; the role's README lists its variables."
    return "%s is not a variable of this role: %s" % (name, remedy)


def _wrong_types(values: dict[str, Any]) -> list[str]:
    """Problems of values that are of another type. They are named by it and not shown, since no rule can say what in
    them is secret, and are taken out of `values`, so that nothing else shows them."""
    problems = []
    for key in _OF_ONE_VALUE:
        if isinstance(values.get(key), (dict, list)):
            kind = "mapping" if isinstance(values.pop(key), dict) else "list"
            problems.append("%s%s is a %s: give one text or number." % (PREFIX, key, kind))
    for key, (entries, _problem) in _LISTS.items():
        if key in values and not isinstance(values[key], (list, tuple, str)):
            kind = "mapping" if isinstance(values.pop(key), dict) else "single value"
            problems.append("%s%s is a %s: give a list of %s." % (PREFIX, key, kind, entries))
    for key in _MAPPINGS:
        if key in values and not isinstance(values[key], dict):
            kind = "list" if isinstance(values.pop(key), list) else "single value"
            problems.append("%s%s is a %s: give a mapping of variables to values." % (PREFIX, key, kind))
    return problems


def _numbers(values: dict[str, Any]) -> list[str]:
    problems = []
    port = values.get("base_port")
    if port is not None and not addresses.is_port(port):
        problems.append(
            "ollama_multigpu_base_port is %s: give a port between 1 and %d (Ollama itself would silently take 11434)."
            % (port, addresses.HIGHEST_PORT)
        )
    for name, least in _WHOLE_NUMBERS.items():
        try:
            if values.get(name) not in (None, ""):
                whole_number(values[name], PREFIX + name, least)
        except PlacementError as error:
            problems.append(str(error))
    interval = values.get("check_interval")
    if not problems and interval not in (None, "") and 0 < int(interval) < _SHORTEST_INTERVAL:
        problems.append(
            "ollama_multigpu_check_interval is %d: give at least %d seconds, or 0 for no checks, because a check reads "
            "the GPUs and asks all servers." % (int(interval), _SHORTEST_INTERVAL)
        )
    return problems


def _places(values: dict[str, Any]) -> list[str]:
    problems = []
    models_dir, address = values.get("models_dir"), values.get("listen_address")
    problem = paths.models_dir_problem(str(models_dir)) if models_dir else None
    if problem:
        problems.append("ollama_multigpu_models_dir %r %s." % (models_dir, problem))
    metrics = values.get("metrics_directory")
    problem = paths.metrics_directory_problem(str(metrics)) if metrics else None
    if problem:
        problems.append("ollama_multigpu_metrics_directory %r %s." % (metrics, problem))
    elif metrics and (paths.directory(str(metrics)) + "/").startswith(paths.directory(str(models_dir)) + "/"):
        problems.append(
            "ollama_multigpu_metrics_directory is %s, in ollama_multigpu_models_dir, which holds models only: give "
            "another directory, such as %s." % (metrics, paths.METRICS)
        )
    if address is not None and not addresses.ip_address(str(address)):
        problems.append(
            "ollama_multigpu_listen_address is %r: give an IP address of the host, such as 127.0.0.1." % str(address)
        )
    elif values.get("advertise_address"):
        problem = addresses.advertise_problem(values["advertise_address"], str(address or ""))
        if problem:
            problems.append(
                "ollama_multigpu_advertise_address is %r, which %s." % (values["advertise_address"], problem)
            )
    report = values.get("report")
    if report and not str(report).endswith(".html"):
        problems.append(
            "ollama_multigpu_report is %r: give the path of a file that ends in .html, or nothing for no report."
            % str(report)
        )
    if "sandbox" in values and hardening.level_of(values["sandbox"]) is None:
        problems.append(
            "ollama_multigpu_sandbox is %r: give one of %s." % (values["sandbox"], ", ".join(hardening.LEVELS))
        )
    return problems + [
        "%s%s has %r, which %s." % (PREFIX, key, entry, problem_of(entry))
        for key, (_entries, problem_of) in _LISTS.items()
        for entry in networks.listed(values.get(key))
        if problem_of(entry)
    ]


def _release(values: dict[str, Any]) -> list[str]:
    problems = []
    version, url, checksum = values.get("version"), values.get("release_url"), values.get("release_checksum")
    if version is not None and not _VERSION.match(str(version)):
        problems.append(
            "ollama_multigpu_version is %r: give a release of Ollama such as 0.32.15, without a leading v." % (version,)
        )
    elif version is not None and not archives.allowed(str(version)):
        problems.append(
            "Ollama %s has known holes - %s: set ollama_multigpu_version to %s or later."
            % (version, archives.OLDEST_ALLOWED_REASON, archives.OLDEST_ALLOWED)
        )
    if url and not _URL.match(str(url)):
        problems.append(
            "ollama_multigpu_release_url is %r: give the http or https address of the directory that holds the "
            "archives." % secrets.shown_address(str(url))
        )
    if checksum and not _CHECKSUM.match(str(checksum)):
        problems.append(
            "ollama_multigpu_release_checksum is %r: give the archive's SHA-256 (64 hexadecimal digits) or the address "
            "of a sha256sum.txt." % secrets.shown_address(str(checksum))
        )
    return problems + _plain_http(str(version), str(url or ""), str(checksum or "")) + _registry(values)


def _registry(values: dict[str, Any]) -> list[str]:
    try:
        if values.get("registry"):
            registry_host(values["registry"])
    except InvalidName as error:
        return ["ollama_multigpu_registry: %s." % error]
    if values.get("registry_insecure") is True and not values.get("registry"):
        return [
            "ollama_multigpu_registry_insecure is true, and ollama_multigpu_registry is empty: name the registry, or "
            "give insecure to the models whose registry needs it."
        ]
    problem = login_problem(values.get("registry_username"), values.get("registry_password"), values.get("registry"))
    return [problem] if problem else []


def _plain_http(version: str, url: str, checksum: str) -> list[str]:
    """Who can change an archive on its way can change a sha256sum.txt as well, so that one is no check of the other."""
    if archives.is_plain_http(checksum):
        return [
            "ollama_multigpu_release_checksum is %r, and what comes over plain http can be changed on its way: give "
            "the archive's SHA-256, or an https address." % secrets.shown_address(checksum)
        ]
    if archives.is_plain_http(url) and not archives.is_pinned(version, checksum):
        return [
            "ollama_multigpu_release_url is %r, and an archive that comes over plain http needs a SHA-256 that does "
            "not come from the network: give it as ollama_multigpu_release_checksum, or give an https address."
            % secrets.shown_address(url)
        ]
    return []


def _acknowledged(values: dict[str, Any]) -> list[str]:
    """Names that nobody needs to acknowledge, and an address that opens the services without being acknowledged."""
    acknowledged, address = exposure.acknowledged(values.get("acknowledged")), str(values.get("listen_address") or "")
    problems = [
        "ollama_multigpu_acknowledged names %s, which needs no acknowledgement: it takes %s."
        % (name, ", ".join(exposure.NAMES))
        for name in acknowledged
        if name not in exposure.NAMES
    ]
    opens = exposure.of_address(address, networks.usable(values.get("allow_from")))
    if opens and exposure.LISTEN_ADDRESS not in acknowledged:
        problems.append(
            "ollama_multigpu_listen_address is %r, which %s: name the clients, or the gateway in front, in "
            "ollama_multigpu_allow_from, listen on 127.0.0.1 behind a gateway on the host, or add %s to "
            "ollama_multigpu_acknowledged." % (address, opens, exposure.LISTEN_ADDRESS)
        )
    return problems


def _environment(values: dict[str, Any], key: str, check: Callable[[Any, Any], Optional[str]]) -> list[str]:
    """Problems of the user's environment variables, by the rules that placement_info has for them.

    Args:
        values: the role's variables without their prefix.
        key: which of them holds the environment variables.
        check: says what is wrong with one of them, or returns its value as text.
    """
    problems = []
    for name, value in (values.get(key) or {}).items():
        try:
            text = None if value is None else check(name, value)
        except PlacementError as error:
            problems.append("%s%s: %s Correct the variable or remove it." % (PREFIX, key, error))
            continue
        opens = exposure.of_variable(name, text or "")
        if opens and name not in exposure.acknowledged(values.get("acknowledged")):
            problems.append(
                "%s%s: %s is %r, which %s: give another value, or add %s to ollama_multigpu_acknowledged."
                % (PREFIX, key, name, secrets.shown(name, value), opens, name)
            )
    return problems


def _left_alone(values: dict[str, Any]) -> list[str]:
    try:
        left_alone.check_lists(values.get("cordon"), values.get("exclude"), PREFIX)
    except PlacementError as error:
        return [str(error)]
    return []


def _given_twice(values: dict[str, Any]) -> list[str]:
    twice = set(values.get("environment") or {}) & set(values.get("environment_unchecked") or {})
    return [
        "ollama_multigpu_environment and ollama_multigpu_environment_unchecked both give %s: give it once." % name
        for name in sorted(twice, key=str)
    ]


def _models(values: dict[str, Any]) -> list[str]:
    models = values.get("models")
    if models == []:
        return ["ollama_multigpu_models is empty: name at least one model to serve."]
    if models is None:
        return []
    problems = ["ollama_multigpu_models: %s" % problem for problem in structure_problems(models, role_options())]
    mappings = [model for model in models if isinstance(model, dict)] if isinstance(models, list) else []
    for model in [] if problems else mappings:
        problems += _speculative(model)
        problems += _source(model)
    problems += [] if problems else _aliases(mappings)
    names = [str(model["name"]) for model in mappings if model.get("name")]
    return problems + [
        "ollama_multigpu_models names %s more than once: give one entry for it, with replicas for several copies."
        % name
        for name in sorted({name for name in names if names.count(name) > 1})
    ]


def _aliases(models: list[dict[str, Any]]) -> list[str]:
    """The first problem of the aliases; the plan refuses names that are none."""
    try:
        aliases.check_aliases(models)
    except PlacementError as error:
        return ["ollama_multigpu_models: %s" % error]
    except InvalidName:
        pass
    return []


def _source(model: dict[str, Any]) -> list[str]:
    """Problems of a model's `source` and `optimized.adapters` beyond their structure."""
    try:
        own_source.check_source(model)
        own_adapters.check_adapters(model)
    except PlacementError as error:
        return ["ollama_multigpu_models: %s" % error]
    return []


def _speculative(model: dict[str, Any]) -> list[str]:
    """Problems of a model's `speculative` beyond its structure."""
    try:
        speculative.check_option(model, str(model.get("name")))
    except PlacementError as error:
        return ["ollama_multigpu_models: %s" % error]
    return []
