#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A piece of a model file that the action plugin of this name sends: thin, see module_utils/ollama/store_own.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_file
short_description: Send a model file from the controller to the store of an instance
version_added: "1.0.0"
description:
  - Sends a GGUF file in pieces and appends them to a blob in a models directory on the host.
    M(gpufleet.ollama.instance_models) makes a model of it.
  - What is on the host already is not sent again. A file that was sent in part, whatever ended the run, is completed.
  - What happens in the store is done as the user C(ollama), to whom it belongs. The module itself runs as root.
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
    support: none
options:
  path:
    description:
      - The GGUF file on the controller.
    type: str
    required: true
  store:
    description:
      - Models directory on the host that gets the file.
    type: path
    required: true
  sha256:
    description:
      - SHA-256 of the file, which is compared on the host once all of it is there.
    type: str
    required: true
  size_bytes:
    description:
      - Size of the file.
    type: int
    required: true
  piece:
    description:
      - A file on the host with the next bytes. It is for the action plugin, which sends it.
    type: path
  offset:
    description:
      - Where O(piece) begins. It is for the action plugin.
    type: int
    default: 0
seealso:
  - module: gpufleet.ollama.model_info
  - module: gpufleet.ollama.instance_models
"""

EXAMPLES = r"""
- name: Send a model file into the store of an instance
  gpufleet.ollama.model_file:
    path: /srv/models/qwen3-32b-q4_k_m.gguf
    store: /var/lib/ollama-multigpu/instances/gpu0
    sha256: "{{ read.model.own_file.sha256 }}"
    size_bytes: "{{ read.model.own_file.size_bytes }}"
  become: true
"""

RETURN = r"""
have_bytes:
  description: How many bytes of the file the host has.
  returned: success
  type: int
sent_bytes:
  description: How many bytes were sent.
  returned: unless the task fails
  type: int
"""

from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import InvalidName
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import own_blob
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.own_file import OwnFile
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store, StoreError

#: The user whom the stores of instances belong to; None, in tests, for whoever owns one.
STORE_USER: Optional[str] = paths.USER


def argument_spec() -> dict[str, Any]:
    """Return the options. The action plugin checks them too."""
    return dict(
        path=dict(type="str", required=True),
        store=dict(type="path", required=True),
        sha256=dict(type="str", required=True),
        size_bytes=dict(type="int", required=True),
        piece=dict(type="path"),
        offset=dict(type="int", default=0),
    )


def result(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Append a piece, or look how many bytes there are.

    Raises:
        InvalidName: the SHA-256 is none.
        StoreError: from the store.
    """
    own = OwnFile.of(dict(params, kind="file", where=params["path"]))
    store = Store(params["store"], STORE_USER)
    if check_mode or not params["piece"]:
        return dict(changed=False, have_bytes=own_blob.bytes_there(store, own), sent_bytes=0)
    have = own_blob.append(store, own, params["offset"], params["piece"])
    if have >= own.size_bytes:
        own_blob.bring(store, own, 0.0)
    return dict(changed=True, have_bytes=have, sent_bytes=have - params["offset"])


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        module.exit_json(**result(take_options(module), module.check_mode))
    except (InvalidName, StoreError) as error:
        module.fail_json(msg="%s." % error)


if __name__ == "__main__":
    main()
