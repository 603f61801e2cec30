#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Servers of a gateway: thin, see module_utils/host/gateway_socket.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_drain
short_description: Take instances out of the rotation of a gateway for a time
version_added: "1.0.0"
description:
  - Requests for a model that only these instances serve wait until one comes back, up to five minutes.
  - Runs on a host with a gateway of the role P(gpufleet.ollama.ollama_gateway#role). New requests go to the other
    instances; what an instance has begun to answer is answered to its end.
  - It lasts until the instances are taken back, or the gateway is reloaded or restarted. The variable
    C(ollama_gateway_drain) of the role lasts longer.
  - Where no gateway runs on the host, nothing is done.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  host:
    description:
      - Name of the GPU host in the inventory.
    type: str
    required: true
  instances:
    description:
      - Names of instances of the host. By default all are meant.
      - For the gateway of a fleet, whose servers are the gateways of the hosts, the whole host is meant.
    type: list
    elements: str
    default: []
  state:
    description:
      - Whether the instances get no new requests (V(drained)), or requests again (V(ready)).
    type: str
    choices: [drained, ready]
    default: drained
  timeout:
    description:
      - Seconds to wait until the instances have answered what they have begun, with O(state=drained).
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Take an instance out of rotation
  gpufleet.ollama.gateway_drain:
    host: gpu1
    instances: [gpu0]
  become: true
  delegate_to: front

- name: Take it back
  gpufleet.ollama.gateway_drain:
    host: gpu1
    instances: [gpu0]
    state: ready
  become: true
  delegate_to: front
"""

RETURN = r"""
servers:
  description:
    - The servers of the gateway that are meant, as HAProxy names them (C(BACKEND/SERVER)).
    - An instance may have more than one. One in a backend C(check0_BACKEND), C(check1_BACKEND) and so on gets no
      requests; its checks tell whether the servers of that instance in C(BACKEND) work.
  returned: success
  type: list
  elements: str
  sample: [model_llama3__8b/gpu1_gpu0]
under_way:
  description: How many requests these have not answered to the end yet.
  returned: success
  type: int
  sample: 0
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import gateway_socket


def main():
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "instances": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["drained", "ready"], "default": "drained"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    options = take_options(module)
    if not os.path.exists(gateway_socket.SOCKET):
        module.exit_json(changed=False, servers=[], under_way=0)
    try:
        with open(gateway_socket.RUNNING, encoding="utf-8") as stream:
            servers = gateway_socket.servers_of(stream.read(), options["host"], options["instances"])
        changed, under_way = set_servers(servers, options, module.check_mode)
    except (gateway_socket.GatewaySocketError, OSError, ValueError) as error:
        module.fail_json(msg="The gateway cannot be told: %s" % error)
    module.exit_json(changed=changed, servers=servers, under_way=under_way)


def set_servers(servers, options, is_check):
    """Return whether servers were, or would be, changed, and how many of their requests are under way."""
    gateway = gateway_socket.GatewaySocket(gateway_socket.SOCKET)
    wanted = options["state"] == "drained"
    drained = gateway.drained() if servers else set()
    differing = [server for server in servers if (server in drained) != wanted]
    if not is_check:
        (gateway.drain if wanted else gateway.take_back)(differing)
    if not servers:
        return False, 0
    waits = wanted and not is_check
    return bool(differing), gateway.wait(servers, options["timeout"] if waits else 0)


if __name__ == "__main__":
    main()
