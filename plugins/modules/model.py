#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model of one Ollama instance: thin, see module_utils/ollama/ensure.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: model
short_description: Manage a model of an Ollama instance
version_added: "1.0.0"
description:
  - Brings a model by exact tag to an Ollama server, from a registry, from another store on the same host, or built on another model.
  - Loads it onto the GPUs and takes it off again, and removes it.
  - A built model is created again only when its effective content differs from what is asked for.
  - An interrupted pull goes on where it stopped.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
  - gpufleet.ollama.attributes.idempotent
attributes:
  check_mode:
    support: full
    details:
      - Also works where the server is not running or not installed yet. The registry is asked, so an unknown tag shows already then.
  diff_mode:
    support: full
requirements:
  - requests, which the collection brings along
options:
  name:
    description:
      - The model, as V(llama3.1:8b) or V(host:port/namespace/model:tag). Without a tag V(latest) is meant, and no other.
    type: str
    required: true
  state:
    description:
      - V(present) makes the model available, V(absent) removes it from this instance.
      - V(loaded) loads it, or loads it again where it runs in an older state than is on the disk. It must be present.
      - V(unloaded) takes it off the GPUs.
    type: str
    choices: [present, absent, loaded, unloaded]
    default: present
  url:
    description:
      - Address of the Ollama API.
    type: str
    default: http://127.0.0.1:11434
  source:
    description:
      - Full name under which to pull the model where it differs from O(name). It is renamed afterwards.
    type: str
  registry:
    description:
      - Host and port of a mirror that has the model in place of the registry of its name. The model keeps its name.
    type: str
  insecure:
    description:
      - Let the server speak plain http with the registry.
    type: bool
    default: false
  digest:
    description:
      - The manifest digest that the model must have, or its base where it is built on one.
      - It is compared with the registry before anything is pulled, and with the result.
    type: str
  from:
    description:
      - The model to build on. It is pulled first where it is missing.
    type: str
  modelfile:
    description:
      - Text of a Modelfile, in place of O(from) and the options that go with it.
    type: str
  parameters:
    description:
      - Parameters of the built model, merged over those of its base.
      - Names and types are checked, because Ollama ignores unknown names, and refuses wrong types only when the model is loaded.
    type: dict
  template:
    description:
      - Template of the built model.
    type: str
  system:
    description:
      - System message of the built model.
    type: str
  adapters:
    description:
      - Adapter files on this host that the built model uses.
    type: list
    elements: path
  store:
    description:
      - Models directory of this instance on this host. With it, O(link_from) can be used, free space is checked before a pull,
        and models can be seen, linked and removed while the server is not running.
    type: path
  link_from:
    description:
      - Models directories on this host. A model that one of them has in the wanted form is hard-linked into O(store) and not pulled or created again.
      - They must be on one file system with O(store).
    type: list
    elements: path
  keep_alive:
    description:
      - How long a loaded model stays, in seconds or as V(10m). V(-1) is for ever.
    type: str
    default: "-1"
  timeout:
    description:
      - Seconds without progress after which a pull or a request is given up. A pull as a whole may take any time.
      - A load, which tells nothing until it is done, has at least half an hour.
    type: int
    default: 120
seealso:
  - module: gpufleet.ollama.model_info
  - module: gpufleet.ollama.placement_check
"""

EXAMPLES = r"""
- name: Have a model
  gpufleet.ollama.model:
    name: llama3.1:8b

- name: Have a pinned model from a mirror
  gpufleet.ollama.model:
    name: llama3.1:8b
    registry: mirror.example.com:5000
    insecure: true
    digest: sha256:46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e

- name: Build a model with a fixed context length and no fallback to the CPU
  gpufleet.ollama.model:
    name: llama4:16x17b-optimized
    from: llama4:16x17b
    parameters:
      num_ctx: 32768
      num_gpu: 999

- name: Give it to a second instance without a byte of download
  gpufleet.ollama.model:
    name: llama4:16x17b-optimized
    from: llama4:16x17b
    parameters:
      num_ctx: 32768
      num_gpu: 999
    url: http://127.0.0.1:11435
    store: /usr/share/ollama/.ollama/models/instances/gpu1
    link_from:
      - /usr/share/ollama/.ollama/models/instances/gpu0

- name: Keep it loaded
  gpufleet.ollama.model:
    name: llama4:16x17b-optimized
    state: loaded

- name: Pull a large model in the background
  gpufleet.ollama.model:
    name: llama4:16x17b
  async: 86400
  poll: 30
"""

RETURN = r"""
action:
  description: What was done, or would be in check mode.
  returned: success
  type: str
  choices: [none, link, pull, create, delete, load, reload, keep_alive, unload]
  sample: pull
digest:
  description: Manifest digest of the model afterwards; null where it is absent or not known beforehand.
  returned: success
  type: str
  sample: sha256:46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e
pulled_bytes:
  description:
    - Bytes of the blobs that had to come from the registry, those of the base included. Null where that cannot be known.
    - What an interrupted pull had already brought counts too.
  returned: success
  type: int
  sample: 4920753328
loaded:
  description: How the server describes the loaded model, or null.
  returned: success
  type: dict
  contains:
    size_bytes:
      description: Bytes that the server says it takes.
      type: int
    size_vram_bytes:
      description: Bytes of them that the server says are on GPUs. No proof, see M(gpufleet.ollama.placement_check).
      type: int
    context_length:
      description: Context length that it was loaded with, in tokens.
      type: int
    expires_at:
      description: When it is unloaded unless it is used.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.ensure import EXPECTED_ERRORS, ensure, read_wanted


def main():
    module = AnsibleModule(
        argument_spec=dict(
            name=dict(type="str", required=True),
            state=dict(type="str", choices=["present", "absent", "loaded", "unloaded"], default="present"),
            url=dict(type="str", default="http://127.0.0.1:11434"),
            source=dict(type="str"),
            registry=dict(type="str"),
            insecure=dict(type="bool", default=False),
            digest=dict(type="str"),
            modelfile=dict(type="str"),
            parameters=dict(type="dict"),
            template=dict(type="str"),
            system=dict(type="str"),
            adapters=dict(type="list", elements="path"),
            store=dict(type="path"),
            link_from=dict(type="list", elements="path"),
            keep_alive=dict(type="str", default="-1"),
            timeout=dict(type="int", default=120),
            **{"from": dict(type="str")},
        ),
        supports_check_mode=True,
    )
    try:
        wanted = read_wanted(module.params)
        outcome = ensure(wanted, wanted.target(), module.check_mode)
    except LibraryMissing as error:
        module.fail_json(**error.as_failure())
    except EXPECTED_ERRORS as error:
        module.fail_json(msg=str(error))
    for warning in outcome.warnings:
        module.warn(warning)
    result = dict(
        changed=outcome.changed,
        action=outcome.action,
        digest=outcome.digest,
        pulled_bytes=outcome.pulled_bytes,
        loaded=outcome.loaded,
    )
    if module._diff and outcome.changed:
        result["diff"] = {
            "before": outcome.before,
            "after": outcome.after,
            "before_header": module.params["name"],
            "after_header": module.params["name"],
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
