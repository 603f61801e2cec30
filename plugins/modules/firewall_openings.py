#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Openings in ufw and firewalld: thin, see common/openings.py and host/firewall_managers.py in module_utils."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall_openings
short_description: Let clients through where ufw or firewalld manages the firewall of a host
version_added: "1.0.0"
description:
  - Opens the ports of the instances to the listed networks, and takes away the openings of earlier runs that are not
    wanted any more. What is missing is opened first.
  - All openings of the module on a host are those of one task. Another task with other ports takes them away.
  - Rules of others are neither changed nor removed. Nothing is reloaded, and ufw and firewalld are never switched on.
  - Where neither is in force on the host, nothing is opened.
  - A rule of the module names itself. In ufw it has the comment C(gpufleet.ollama), in firewalld the priority 11434. It
    lets through what no rule of others refuses before.
  - In firewalld, a rule is added to the default zone and to each zone with an interface or a source, as it is now and
    as it is after a reboot. A zone of sources alone that refuses everything, such as the zone V(drop), gets none.
  - Who else can connect is not its business. The role P(gpufleet.ollama.ollama_multigpu#role) keeps them out by rules
    of nftables.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
  - gpufleet.ollama.attributes.idempotent
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  allow_from:
    description:
      - IP addresses and networks whose hosts may connect. With an empty list, all openings of the module are removed.
    type: list
    elements: str
    required: true
  ports:
    description:
      - TCP ports of the instances.
    type: list
    elements: int
    default: []
"""

EXAMPLES = r"""
- name: Let the gateway through
  gpufleet.ollama.firewall_openings:
    allow_from: [192.0.2.7, "2001:db8::/64"]
    ports: [11434, 11435]
  become: true

- name: Let nobody through any more
  gpufleet.ollama.firewall_openings:
    allow_from: []
  become: true
"""

RETURN = r"""
opened:
  description:
    - What was missing, as C(manager), C(zone) (empty for ufw), C(lasting) (whether it is there after a reboot),
      C(network) and C(ports).
  returned: success
  type: list
  elements: dict
  sample: [{manager: ufw, zone: "", lasting: true, network: 192.0.2.7, ports: 11434-11435}]
closed:
  description: What was not wanted any more, as in RV(opened).
  returned: success
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import networks, openings, paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import firewall_managers, systemd


def main():
    module = AnsibleModule(
        argument_spec={
            "allow_from": {"type": "list", "elements": "str", "required": True},
            "ports": {"type": "list", "elements": "int", "default": []},
        },
        supports_check_mode=True,
    )
    options = take_options(module)
    problems = problems_of(options)
    if problems:
        module.fail_json(msg=" ".join(problems))
    wanted = (networks.canonical(options["allow_from"]), options["ports"])
    try:
        compared = openings.compared(places(), *wanted)
        differing = [one for one in compared if one.missing or one.stale]
        complaints = firewall_managers.mend(differing) if differing and not module.check_mode else []
        left = openings.differing(places(), *wanted) if differing and not module.check_mode else []
    except firewall_managers.ManagerError as error:
        module.fail_json(
            msg="The openings are not known, because %s. Make it answer, or stop what manages the firewall of the "
            "host, and run it again." % error
        )
    if left:
        module.fail_json(msg=failure(left, complaints))
    for complaint in complaints:
        module.warn("The openings for clients are written, and not all are loaded: %s." % complaint)
    module.exit_json(
        changed=bool(differing),
        opened=[entry(one.place, opening) for one in differing for opening in one.missing],
        closed=[entry(one.place, opening) for one in differing for opening in one.stale],
        diff=shown(compared),
    )


def places():
    """Return what ufw and firewalld have now."""
    return firewall_managers.places(systemd.show([paths.FIREWALLD_UNIT]))


def problems_of(options):
    """Return sentences about options that name nothing."""
    found = [(value, networks.problem(value)) for value in options["allow_from"]]
    sentences = ["allow_from: %s %s." % (value, problem) for value, problem in found if problem]
    wrong = [port for port in options["ports"] if not 0 < port < 65536]
    return sentences + ["ports: %d is no TCP port, which is 1 to 65535." % port for port in wrong]


def entry(place, opening):
    """Return an opening as the module answers it."""
    where = {"manager": place.manager, "zone": place.zone, "lasting": place.lasting}
    return dict(where, network=opening.network, ports=opening.ports)


def failure(left, complaints):
    """Return why openings are not as wanted."""
    missing = [one.place.named(opening) for one in left for opening in one.missing]
    stale = [one.place.named(opening) for one in left for opening in one.stale]
    managers = " and ".join(dict.fromkeys(one.place.manager for one in left))
    parts = [("does not let through", missing), ("still lets through", stale)]
    told = " and ".join("%s %s" % (verb, ", ".join(dict.fromkeys(what))) for verb, what in parts if what)
    reasons = "; ".join(complaints) or "no command failed"
    return "%s %s: %s. Put that right on the host and run it again." % (managers, told, reasons)


def shown(compared):
    """Return the difference for diff mode."""
    before = openings.lines(one.place for one in compared)
    after = openings.lines(one.mended for one in compared)
    names = {"before_header": "openings for clients", "after_header": "openings for clients"}
    return dict(names, before="".join("%s\n" % line for line in before), after="".join("%s\n" % line for line in after))


if __name__ == "__main__":
    main()
