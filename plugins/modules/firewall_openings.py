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
  - Rules of others are neither changed nor removed, and ufw and firewalld are never switched on. Where a rule is taken
    away, ufw loads all its rules for users anew, and refuses new connections for that moment.
  - firewalld copies the file of a zone that is changed into C(/etc/firewalld/zones), where it stays.
  - Where neither is in force on the host, nothing is opened.
  - A rule of the module names itself. In ufw it has the comment C(gpufleet.ollama), in firewalld the priority 11434. It
    lets through what no rule of others refuses before.
  - In firewalld, a rule is added to the default zone and to each zone with an interface or a source, as it is now and
    as it is after a reboot. A zone of sources alone that refuses everything, such as the zone V(drop), gets none, and
    neither does a zone that accepts everything, such as V(trusted), V(docker) and V(libvirt).
  - The module warns of what it cannot put right - IPv6 clients of ufw with V(IPV6=no), openings that ufw does not take
    away without IPv6, and those of a firewalld that does not answer, if nobody is listed.
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

#: Names of what openings.Difference has.
SIDES = ("missing", "stale")


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
    found, problem = places()
    if problem and wanted[0]:
        module.fail_json(
            msg="The openings are not known, because %s. Make it answer, or stop what manages the firewall of the "
            "host, and run it again." % problem
        )
    compared = openings.compared(found, *wanted)
    differing = [one for one in compared if one.missing or one.stale]
    after, left = [one.mended for one in compared], []
    if differing and not module.check_mode:
        complaints = firewall_managers.mend(differing)
        found = after = places()[0]
        left = openings.differing(found, *wanted)
        if any(one.place.active for one in left):
            module.fail_json(msg=failure(left, complaints))
        for sentence in complained(left, complaints):
            module.warn(sentence)
    for sentence in openings.warnings(found, *wanted):
        module.warn(sentence)
    opened, closed = ([one for one in entries(differing, side) if one not in entries(left, side)] for side in SIDES)
    module.exit_json(
        changed=bool(opened or closed), opened=opened, closed=closed, diff=shown([one.place for one in compared], after)
    )


def places():
    """Return what ufw and firewalld have now, and why not all of that is known."""
    return firewall_managers.places(systemd.show([paths.FIREWALLD_UNIT]))


def complained(left, complaints):
    """Return sentences about commands that failed, although all listed clients get through and no others."""
    if left:
        names = ", ".join(one.place.named(opening) for one in left for opening in one.stale)
        managers = " and ".join(dict.fromkeys(one.place.manager for one in left))
        text = "%s is not in force, and would let through %s: %s. Put that right on the host and run it again."
        return [text % (managers, names, "; ".join(complaints) or "no command failed")]
    return ["The openings for clients are written, and not all are loaded: %s." % complaint for complaint in complaints]


def problems_of(options):
    """Return sentences about options that name nothing."""
    found = [(value, networks.problem(value)) for value in options["allow_from"]]
    sentences = ["allow_from: %s %s." % (value, problem) for value, problem in found if problem]
    wrong = [port for port in options["ports"] if not 0 < port < 65536]
    return sentences + ["ports: %d is no TCP port, which is 1 to 65535." % port for port in wrong]


def entries(differing, side):
    """Return openings as the module answers them.

    Args:
        differing: differences of places.
        side: one of SIDES.
    """
    return [
        {
            "manager": one.place.manager,
            "zone": one.place.zone,
            "lasting": one.place.lasting,
            "network": opening.network,
            "ports": opening.ports,
        }
        for one in differing
        for opening in getattr(one, side)
    ]


def failure(left, complaints):
    """Return why openings are not as wanted."""
    missing = [one.place.named(opening) for one in left for opening in one.missing]
    stale = [one.place.named(opening) for one in left for opening in one.stale]
    managers = " and ".join(dict.fromkeys(one.place.manager for one in left))
    parts = [("does not let through", missing), ("still lets through", stale)]
    told = " and ".join("%s %s" % (verb, ", ".join(dict.fromkeys(what))) for verb, what in parts if what)
    reasons = "; ".join(complaints) or "no command failed"
    return "%s %s: %s. Put that right on the host and run it again." % (managers, told, reasons)


def shown(before, after):
    """Return the difference of places for diff mode."""
    texts = ["".join("%s\n" % line for line in openings.lines(places)) for places in (before, after)]
    header = "openings for clients"
    return {"before_header": header, "after_header": header, "before": texts[0], "after": texts[1]}


if __name__ == "__main__":
    main()
