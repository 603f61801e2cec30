# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a run has read of a host, and what became of the run there. Pure but for reading variables of Ansible."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.values import mapping, text

#: Variables in which the tasks of the role keep what they have read.
_PREFIX = "__ollama_multigpu_"
#: What ansible-core 2.19 and later write before what went wrong.
_OF_ANSIBLE = re.compile(
    r"\A(?:Task failed: |Action failed: |Module failed: |A '\w+' expression failed: |"
    r"(?:Error rendering template|Finalization of task args for '[^']*' failed): |"
    r"The (?:filter|lookup|test) plugin '[^']*' failed: )+"
)


@dataclass(frozen=True)
class Answers:
    """What is known of a host.

    Attributes:
        host: of module host_info; {} where it could not be read.
        inventory: the fact gpu_inventory.
        plan: the plan of this run, or else the one in force on the host.
        difference: of module changes_info.
        evidence: of module placement_check, or of a switch that failed.
        unreachable: why it cannot be reached, "" where it can.
        failure: why the run failed there, "" where it did not.
        ended: whether the run came to its end there.
    """

    host: Mapping[str, Any] = field(default_factory=dict)
    inventory: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    difference: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    unreachable: str = ""
    failure: str = ""
    ended: bool = False

    @property
    def applied_plan(self) -> Mapping[str, Any]:
        """The plan in force on the host when the run began."""
        return mapping(self.host.get("applied_plan"))


def answers_of(variables: Mapping[str, Any]) -> Answers:
    """Return what the tasks of the role have kept of a host.

    Args:
        variables: of the host, as `hostvars` has them.
    """

    def kept(name: str) -> Mapping[str, Any]:
        return mapping(variables.get(_PREFIX + name))

    reached, switched = kept("reached"), kept("switched")
    read = kept("host_info") or reached
    host = mapping(read.get("host"))
    evidence = kept("evidence")
    if not evidence.get("instances") and switched.get("failed"):
        evidence = mapping(switched.get("evidence"))
    return Answers(
        host=host,
        inventory=mapping(mapping(variables.get("ansible_facts")).get("gpu_inventory")),
        plan=mapping(kept("placement").get("placement")) or mapping(host.get("applied_plan")),
        difference=kept("difference"),
        evidence=evidence,
        unreachable=_why_unreachable(reached),
        failure=_why_failed(kept("failure"), switched),
        ended=bool(kept("run_ended")),
    )


def _why_unreachable(reached: Mapping[str, Any]) -> str:
    if not reached.get("unreachable"):
        return ""
    return _said(reached) or "It does not answer."


def _why_failed(failure: Mapping[str, Any], switched: Mapping[str, Any]) -> str:
    """The reason of a failure. A switch that fails says more than what ends the run after it."""
    if not failure:
        return ""
    if switched.get("failed") and switched.get("msg"):
        return _said(switched)
    return _said(failure) or "The task '%s' failed." % text(failure.get("task"))


def _said(result: Mapping[str, Any]) -> str:
    """The message of a task, without what Ansible writes before it."""
    said = text(result.get("msg"))
    return _OF_ANSIBLE.sub("", said) or said
