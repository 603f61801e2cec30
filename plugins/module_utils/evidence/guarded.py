# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether the rules of who may connect to an instance are in force. Pure."""

from __future__ import annotations

from typing import Any, Optional

from ..common import addresses, paths
from .shapes import Check, Finding, Rules

#: The finding of an instance to which everybody can connect, although the host has rules that say who may.
OPEN = "open_to_others"
_LOADED = "the rules of %s" % paths.FIREWALL_RULES


def check(instance: dict[str, Any], rules: Rules) -> list[Check]:
    """Return the check of an instance that listens on a network of a host with rules; [] for others.

    Args:
        instance: of the plan.
        rules: of the host.
    """
    if not _concerns(instance, rules):
        return []
    return [Check("who_may_connect", _in_force(rules), _LOADED, _words(rules))]


def explain(instance: dict[str, Any], rules: Rules, serves: bool) -> list[Finding]:
    """Return the finding of an instance that is open to others, or of which it is not known; [] if it is guarded.

    Args:
        instance: of the plan.
        rules: of the host.
        serves: whether its server can be reached.
    """
    passed = _in_force(rules)
    if passed or not _concerns(instance, rules):
        return []
    if passed is None:
        kind, evidence = "unproven", "it is not known whether %s are in force: %s" % (_LOADED, _words(rules))
        remedy = "Run the check as root on the host itself, where nft lists the rules."
    else:
        outcome = (
            "everybody who reaches the host can connect to %s:%s" % (instance["address"], instance["port"])
            if serves
            else "%s does not start without them" % instance["unit"]
        )
        kind, evidence = OPEN, "%s are not in force (%s), and %s" % (_LOADED, _words(rules), outcome)
        remedy = (
            "Load them with systemctl reload-or-restart %s, or run the role again. If they go again, look for what "
            "empties all tables, such as nft flush ruleset or nft -f /etc/nftables.conf." % paths.FIREWALL_UNIT
        )
    return [Finding(kind, evidence, remedy, instance=instance["name"], model="")]


def _concerns(instance: dict[str, Any], rules: Rules) -> bool:
    address = addresses.without_brackets(str(instance.get("address") or ""))
    return (rules.wanted is not None or rules.problem is not None) and not addresses.is_loopback(address)


def _in_force(rules: Rules) -> Optional[bool]:
    """Whether they are; None where that is not known."""
    return None if rules.problem else rules.loaded == rules.wanted


def _words(rules: Rules) -> str:
    """What is in force, in words."""
    if rules.problem:
        return rules.problem
    if rules.loaded is None:
        return "the table %s is missing" % paths.FIREWALL_TABLE
    return _LOADED if rules.loaded == rules.wanted else "the table %s has other rules" % paths.FIREWALL_TABLE
