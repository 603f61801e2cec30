# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_config
short_description: Make a snippet for nginx from the endpoints of a fleet
version_added: "1.0.0"
author: The gpufleet.ollama contributors (@gpufleet)
description:
  - Makes an upstream and a server for the http block of nginx. Calls that change models get status 403.
  - nginx does not read the model of a request. So all instances behind it serve the model that is given; a request for
    another one gets status 404 from one of them. The role P(gpufleet.ollama.ollama_gateway#role) has no such limit.
options:
  _input:
    description:
      - What M(gpufleet.ollama.endpoints_file) writes, or the filter P(gpufleet.ollama.endpoints_document#filter) gives.
    type: dict
    required: true
  model:
    description:
      - The model, or alias, that the instances behind nginx serve. It may be left out where all instances serve the
        same.
    type: str
  here:
    description:
      - The host on which nginx runs, where it is one of the GPU hosts. Instances that only their own hosts reach are
        left out otherwise.
    type: str
  listen:
    description: IP address and port on which nginx listens.
    type: str
    default: 127.0.0.1:11480
"""

EXAMPLES = r"""
- name: Write the snippet
  ansible.builtin.copy:
    content: "{{ lookup('ansible.builtin.file', 'endpoints.json') | from_json
      | gpufleet.ollama.nginx_config('llama3.1:8b') }}"
    dest: /etc/nginx/conf.d/ollama.conf
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The snippet.
  type: str
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.ollama.plugins.plugin_utils import proxies


def nginx_config(document, model=None, here=None, listen="127.0.0.1:11480"):
    """Return a snippet for nginx."""
    try:
        return proxies.nginx_config(document, model, here, listen)
    except ValueError as error:
        raise AnsibleFilterError(str(error))


class FilterModule:
    def filters(self):
        return {"nginx_config": nginx_config}
