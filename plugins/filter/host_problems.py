# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: host_problems
short_description: Say what on a host stands in the way of a plan
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Compares a plan with what M(gpufleet.ollama.host_info) found - ports that others hold, an Ollama from elsewhere, missing programs.
options:
  _input:
    description: The plan.
    type: dict
    required: true
  host:
    description: What M(gpufleet.ollama.host_info) returned as RV(gpufleet.ollama.host_info#module:host).
    type: dict
    required: true
  adopt:
    description: Whether an Ollama from elsewhere is to be adopted.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Refuse before anything is changed
  ansible.builtin.fail:
    msg: "{{ problems | join(' ') }}"
  vars:
    problems: "{{ planned.placement | gpufleet.ollama.host_problems(result.host) }}"
  when: problems | length > 0
"""

RETURN = r"""
_value:
  description: One sentence for each problem; empty where there is none.
  type: list
  elements: str
"""

import re

_OUR_UNIT = re.compile(r"ollama@.+\.service\Z")


def host_problems(plan, host, adopt=False):
    """Sentences about what keeps `plan` from being applied on `host`."""
    problems = []
    existing = host.get("existing")
    if existing and not adopt and not host.get("adopted"):
        problems.append(
            "An Ollama that this role did not install is on the host (%s, %s, models in %s): set ollama_multigpu_existing to adopt to take over its "
            "models and settings, or remove it first."
            % (existing["path"], "running" if existing["active"] else "not running", existing["store"])
        )
    elif host.get("command") == "foreign" and not adopt:
        problems.append(
            "/usr/local/bin/ollama is a program that this role did not install: set ollama_multigpu_existing to adopt to replace it "
            "(the role's remove puts it back), or remove it first."
        )
    if existing and adopt and not existing["same_file_system"]:
        problems.append(
            "The models of the Ollama to adopt lie in %s, on another file system than %s, so they cannot be linked: set "
            "ollama_multigpu_models_dir to %s." % (existing["store"], plan["models_dir"], existing["store"])
        )
    if not host.get("zstd") and plan["ollama_version"] not in host["release"]["complete"]:
        problems.append(
            "The program zstd is missing on the host and the release is packed with it: install the package zstd."
        )
    given_back = [existing["unit"]] if existing and adopt else []
    for instance in plan["instances"]:
        problems += _port(instance, host["listeners"], given_back)
    return problems


def _port(instance, listeners, given_back):
    for listener in listeners:
        unit = listener.get("unit") or ""
        if (
            listener["port"] == instance["port"]
            and not _OUR_UNIT.match(unit)
            and unit not in given_back
            and _clash(instance["address"], listener["address"])
        ):
            holder = " ".join(
                filter(
                    None,
                    [
                        listener.get("process") or "another process",
                        "(pid %s)" % listener["pid"] if listener.get("pid") else "",
                        "of %s" % unit if unit else "",
                    ],
                )
            )
            return [
                "Port %d, which instance %s is to listen on, is in use by %s: free it, or set ollama_multigpu_base_port to another."
                % (instance["port"], instance["name"], holder)
            ]
    return []


def _clash(wanted, held):
    wanted = wanted.strip("[]")
    return wanted == held or "0.0.0.0" in (wanted, held) or "::" in (wanted, held)


class FilterModule:
    def filters(self):
        return {"host_problems": host_problems}
