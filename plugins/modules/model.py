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
  - Makes a model available to an Ollama server by its exact tag. The model comes from a registry, from another store on
    the same host, or is built on another model.
  - Loads, unloads and removes a model.
  - A built model is created again only if its effective content differs from the options.
  - An interrupted pull is resumed.
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
      - Also works where the server is not running or not installed yet.
      - The registry is asked, so an unknown tag is reported in check mode too.
  diff_mode:
    support: full
requirements:
  - requests, which the collection brings along
options:
  name:
    description:
      - The model, as V(llama3.1:8b) or V(host:port/namespace/model:tag). The default tag is V(latest).
    type: str
    required: true
  state:
    description:
      - V(present) makes the model available, V(absent) removes it from this instance.
      - V(loaded) loads it, or loads it again if the loaded model is older than the one in the store.
        The model must be present.
      - V(unloaded) removes it from the GPUs.
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
      - Full name under which the model is pulled if it differs from O(name). The model is renamed afterwards.
    type: str
  registry:
    description:
      - Host and port of a mirror to pull from instead of the registry in the model's name. The model keeps its name.
    type: str
  registry_username:
    description:
      - User name for O(registry), and for no other registry.
      - Ollama cannot log in, so the module downloads the model itself, as the owner of O(store).
        O(store) is required with it. The password is in the memory of its processes and nowhere else on the host.
    type: str
  registry_password:
    description:
      - Password for O(registry). It is sent as C(Basic), or to get a token if the registry asks for C(Bearer).
    type: str
  insecure:
    description:
      - Whether the server may use plain HTTP with the registry.
    type: bool
    default: false
  digest:
    description:
      - The manifest digest that the model must have. For a built model, the digest that its base must have.
      - It is compared with the registry before the pull, and with the result after it.
    type: str
  from:
    description:
      - The model to build on. It is pulled first if it is missing.
    type: str
  modelfile:
    description:
      - Text of a Modelfile, instead of O(from), O(parameters), O(template), O(system) and O(adapters).
      - It is read as C(ollama create) of Ollama 0.32.15 reads it, C(RENDERER), C(PARSER), C(REQUIRES) and C(DRAFT)
        included. A command that the server's release does not know is refused.
      - C(FROM) must name a model. C(ADAPTER) and C(DRAFT) need the whole path of a file on this host.
    type: str
  parameters:
    description:
      - Parameters of the built model. They override those of its base. null removes a parameter of the base.
      - Names and types are checked here, because Ollama ignores unknown names and refuses wrong types only when it
        loads the model.
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
      - Adapter files on this host for the built model.
    type: list
    elements: path
  store:
    description:
      - Models directory of this instance on this host.
      - It is required for O(link_from), for the check of free space before a pull, and to manage models while the
        server is not running.
      - The module works in it as its owner, and refuses symbolic links in it. Only this user and root may be able to
        replace a directory in its path.
    type: path
  link_from:
    description:
      - Models directories on this host. If one of them has the wanted model, it is taken from there, and not pulled or
        created again.
      - Blobs are hard-linked if they are on the same file system as O(store) and belong to the same user. Otherwise
        they are copied.
    type: list
    elements: path
  keep_alive:
    description:
      - How long the model stays loaded, in seconds or as V(10m). With V(-1) it never expires.
    type: str
    default: "-1"
  timeout:
    description:
      - Seconds without progress after which a pull or a request fails. The whole pull may take longer.
      - Loading a model may take at least half an hour, because the server reports no progress.
    type: int
    default: 120
seealso:
  - module: gpufleet.ollama.instance_models
  - module: gpufleet.ollama.model_info
  - module: gpufleet.ollama.placement_check
"""

EXAMPLES = r"""
- name: Pull a model
  gpufleet.ollama.model:
    name: llama3.1:8b

- name: Pull a model with a pinned digest from a mirror
  gpufleet.ollama.model:
    name: llama3.1:8b
    registry: mirror.example.com:5000
    insecure: true
    digest: sha256:46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e

- name: Download a model from a mirror that needs a login
  gpufleet.ollama.model:
    name: llama3.1:8b
    registry: mirror.example.com:5000
    registry_username: reader
    registry_password: "{{ vault_registry_password }}"
    store: /var/lib/ollama-multigpu/instances/gpu0

- name: Build a model with a fixed context length and no fallback to the CPU
  gpufleet.ollama.model:
    name: llama4:16x17b-optimized
    from: llama4:16x17b
    parameters:
      num_ctx: 32768
      num_gpu: 999

- name: Link it into the store of a second instance without another download
  gpufleet.ollama.model:
    name: llama4:16x17b-optimized
    from: llama4:16x17b
    parameters:
      num_ctx: 32768
      num_gpu: 999
    url: http://127.0.0.1:11435
    store: /var/lib/ollama-multigpu/instances/gpu1
    link_from:
      - /var/lib/ollama-multigpu/instances/gpu0

- name: Load it and keep it loaded
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
  description: What was done, or would be done in check mode.
  returned: success
  type: str
  choices: [none, link, copy, pull, import, create, delete, load, reload, keep_alive, unload]
  sample: pull
digest:
  description: Manifest digest of the model afterwards. Null if it is absent, or if it is not known in check mode.
  returned: success
  type: str
  sample: sha256:46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e
pulled_bytes:
  description:
    - Bytes of the blobs that come from the registry, including those of the base. Null if that is not known.
    - What an interrupted pull had already downloaded is included.
  returned: success
  type: int
  sample: 4920753328
loaded:
  description: The loaded model as the server describes it. Null if it is not loaded.
  returned: success
  type: dict
  contains:
    size_bytes:
      description: Bytes that it takes according to the server.
      type: int
    size_vram_bytes:
      description: Bytes that are on GPUs according to the server. M(gpufleet.ollama.placement_check) measures them.
      type: int
    context_length:
      description: Context length that it was loaded with, in tokens.
      type: int
    expires_at:
      description: Time at which it is unloaded unless it is used.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.ensure import EXPECTED_ERRORS, ensure, read_wanted
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.login import LoginRefused, login_of, login_options


def main():
    module = AnsibleModule(
        argument_spec=dict(
            name=dict(type="str", required=True),
            state=dict(type="str", choices=["present", "absent", "loaded", "unloaded"], default="present"),
            url=dict(type="str", default="http://127.0.0.1:11434"),
            source=dict(type="str"),
            registry=dict(type="str"),
            **login_options(),
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
    options = take_options(module)
    try:
        wanted = read_wanted(dict(options, login=login_of(options)))
        outcome = ensure(wanted, wanted.target(), module.check_mode)
    except LibraryMissing as error:
        module.fail_json(**error.as_failure())
    except (LoginRefused, *EXPECTED_ERRORS) as error:
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
            "before_header": options["name"],
            "after_header": options["name"],
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
