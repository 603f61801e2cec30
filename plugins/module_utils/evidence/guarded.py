# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether the rules of who may connect to an instance are in force, and whether ufw has rules for the clients. Pure."""

from __future__ import annotations

from typing import Any, Optional

from ..common import addresses, paths
from .shapes import Check, Finding, Rules

#: The finding of an instance that the rules of the host do not guard as its file says.
OPEN = "open_to_others"
#: The finding of an instance for whose listed clients ufw has no rule.
CLOSED = "closed_to_clients"
_RULES = "the rules of %s" % paths.FIREWALL_RULES
_OPENED = "open in ufw"
_LOAD = (
    "Load them with systemctl reload-or-restart %s, or run the role again. If they go again, look for what empties all "
    "tables, such as nft flush ruleset or nft -f /etc/nftables.conf." % paths.FIREWALL_UNIT
)
_WRITE = (
    "Run the role again, which writes and loads them. Where only the file is missing, ollama-multigpu check --heal "
    "writes it from the rules in force."
)


def check(instance: dict[str, Any], rules: Rules) -> list[Check]:
    """Return the checks of an instance that listens on a network of a host with rules; [] for others. Whether ufw lets
    the clients through is one of them only where that is known.

    Args:
        instance: of the plan.
        rules: of the host.
    """
    if not _concerns(instance, rules):
        return []
    checks = [Check("who_may_connect", _is_guarded(instance, rules), _RULES, _words(instance, rules))]
    if rules.closed is None:
        return checks
    closed = _closed(instance, rules)
    told = "closed to %s" % ", ".join(closed) if closed else _OPENED
    return checks + [Check("clients_let_through", not closed, _OPENED, told)]


def explain(instance: dict[str, Any], rules: Rules, serves: bool) -> list[Finding]:
    """Return the findings of an instance that is open to others, or of which it is not known, and of one for whose
    clients ufw has no rule; [] if neither is so.

    Args:
        instance: of the plan.
        rules: of the host.
        serves: whether its server can be reached.
    """
    if not _concerns(instance, rules):
        return []
    return _open_to_others(instance, rules, serves) + _closed_to_clients(instance, rules)


def _closed_to_clients(instance: dict[str, Any], rules: Rules) -> list[Finding]:
    closed = _closed(instance, rules)
    if not closed:
        return []
    port = instance.get("port")
    evidence = "no rule of ufw lets %s connect to port %s, although ollama_multigpu_allow_from lists %s" % (
        ", ".join(closed),
        port,
        "it" if len(closed) == 1 else "them",
    )
    remedy = (
        "Run the role again, which opens the port in ufw. Or open it yourself: ufw allow proto tcp from %s to any port "
        "%s." % (closed[0], port)
    )
    return [Finding(CLOSED, evidence, remedy, instance=instance["name"], model="")]


def _closed(instance: dict[str, Any], rules: Rules) -> list[str]:
    """The networks whose hosts do not get through to an instance."""
    port = instance.get("port")
    return [one.network for one in rules.closed or () if isinstance(port, int) and one.has(port)]


def _open_to_others(instance: dict[str, Any], rules: Rules, serves: bool) -> list[Finding]:
    passed = _is_guarded(instance, rules)
    if passed:
        return []
    words = _words(instance, rules)
    if passed is None:
        kind, evidence = "unproven", "it is not known whether %s are in force: %s" % (_RULES, words)
        remedy = "Run the check as root on the host itself, where nft lists the rules."
    else:
        kind, remedy = OPEN, _WRITE if rules.fault or _lacks_port(instance, rules) else _LOAD
        evidence = "%s are not in force (%s), and %s" % (_RULES, words, _outcome(instance, rules, serves))
    return [Finding(kind, evidence, remedy, instance=instance["name"], model="")]


def is_helped_by_load(rules: Rules) -> bool:
    """Return whether loading the rules of the file can help: they are not in force, or the file is missing and written
    from those in force. What they do not name stays open."""
    return rules.fault is not None or rules.loaded != rules.wanted


def _outcome(instance: dict[str, Any], rules: Rules, serves: bool) -> str:
    """What follows for an instance without the rules of the file."""
    address, port = instance.get("address"), instance.get("port")
    where = "%s:%s" % (address, port) if address else "port %s" % port
    if not serves:
        return "%s does not start without them" % instance["unit"]
    if rules.problem:
        return "what is in force is not known: %s" % rules.problem
    if rules.loaded == "":
        return "whom the rules in force let through to %s is not known, because the role did not write them" % where
    if port not in rules.ports:  # there is no table, or one for other ports
        return (
            "they keep nobody out of %s: who can connect is up to other firewalls (ufw, firewalld, IPAddressAllow of "
            "the unit)" % where
        )
    if rules.fault:
        told = "%s does not start again without them; until then, the rules that were loaded before are in force"
        return told % instance["unit"]
    return "others than the listed hosts may connect to %s" % where


def _concerns(instance: dict[str, Any], rules: Rules) -> bool:
    address = addresses.without_brackets(str(instance.get("address") or ""))
    wants = any(one is not None for one in (rules.wanted, rules.fault, rules.problem))
    return wants and not addresses.is_loopback(address)


def _is_guarded(instance: dict[str, Any], rules: Rules) -> Optional[bool]:
    """Whether the rules of the file are in force for an instance; None where that is not known."""
    if rules.fault:
        return False
    if rules.problem:
        return None
    return rules.loaded == rules.wanted and not _lacks_port(instance, rules)


def _lacks_port(instance: dict[str, Any], rules: Rules) -> bool:
    """Whether the rules of the file are loaded, and do not name the port of an instance."""
    return rules.loaded == rules.wanted and instance.get("port") not in rules.ports


def _words(instance: dict[str, Any], rules: Rules) -> str:
    """What is in force, in words."""
    if rules.fault:
        return "%s: %s" % (paths.FIREWALL_RULES, rules.fault)
    if rules.problem:
        return rules.problem
    if rules.loaded is None:
        return "the table %s is missing" % paths.FIREWALL_TABLE
    if rules.loaded != rules.wanted:
        return "the table %s has other rules" % paths.FIREWALL_TABLE
    return "they do not name port %s" % instance.get("port") if _lacks_port(instance, rules) else _RULES
