#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The models of all Ollama instances of a host: thin, see module_utils/ollama/ensure_list.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_models
short_description: Manage the models of all Ollama instances of a host
version_added: "1.0.0"
description:
  - Does what M(gpufleet.ollama.model) does for a list of models in one execution, and returns a result for each entry.
  - The entries are processed in the order of the list. After a failure the later entries of the same instance are
    skipped, and those of other instances are processed. The module then fails with the reasons of all failures and
    names the entries that it skipped.
  - A model that several instances need is pulled or created once and hard-linked into the stores of the others
    if O(models[].link_from) names the first store.
  - The stores belong to the user C(ollama), and the module works in them as this user. The module itself runs as root.
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.models
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
  - gpufleet.ollama.attributes.idempotent
attributes:
  check_mode:
    support: full
    details:
      - Also works where the servers are not running or not installed yet.
      - An entry that needs the result of an earlier entry is reported as changed and does not fail.
  diff_mode:
    support: full
requirements:
  - requests, which the collection brings along
options:
  fetch_server:
    description:
      - Fetch and create O(models) with a temporary server. It is started only if the stores in O(models[].link_from) do
        not have all models, and stopped at the end. Instances and their clients do not notice it.
      - O(models[].url) is not used then, and O(models[].state) can only be V(present).
      - The server is the temporary unit C(ollama-fetch.service). It sees no GPU, listens on a free port of the loopback
        address, and keeps incomplete downloads. Interrupted downloads continue where they stopped, also after the
        server or the host was killed.
      - The progress of downloads is shown on the controller, on standard error, and not with C(no_log).
    type: dict
    suboptions:
      release:
        description:
          - Directory of the release whose program is started.
        type: path
        required: true
      store:
        description:
          - Models directory of the server. It must exist and belong to the user C(ollama).
        type: path
        required: true
      environment:
        description:
          - Variables with which the server reaches registries, such as C(HTTPS_PROXY) and C(SSL_CERT_FILE). Other
            variables are ignored.
        type: dict
        default: {}
  registry_username:
    description:
      - User name for O(registry), and for no other registry.
      - Ollama cannot log in, so this module downloads models of such a registry itself, as the user C(ollama).
        The password is in the memory of its processes and nowhere else on the host.
    type: str
  registry_password:
    description:
      - Password for O(registry). It is sent as C(Basic), or to get a token if the registry asks for C(Bearer).
    type: str
seealso:
  - module: gpufleet.ollama.model
  - module: gpufleet.ollama.placement_info
"""

EXAMPLES = r"""
- name: Give two instances the same optimized model and load it
  gpufleet.ollama.instance_models:
    models:
      - instance: gpu0
        name: llama3.1:8b
        url: http://127.0.0.1:11434
        store: /var/lib/ollama-multigpu/instances/gpu0
      - instance: gpu0
        name: llama3.1:8b-optimized
        url: http://127.0.0.1:11434
        store: /var/lib/ollama-multigpu/instances/gpu0
        from: llama3.1:8b
        parameters:
          num_ctx: 32768
          num_gpu: 999
      - instance: gpu1
        name: llama3.1:8b-optimized
        url: http://127.0.0.1:11435
        store: /var/lib/ollama-multigpu/instances/gpu1
        link_from:
          - /var/lib/ollama-multigpu/instances/gpu0
        from: llama3.1:8b
        parameters:
          num_ctx: 32768
          num_gpu: 999
      - instance: gpu0
        name: llama3.1:8b-optimized
        url: http://127.0.0.1:11434
        state: loaded
      - instance: gpu1
        name: llama3.1:8b-optimized
        url: http://127.0.0.1:11435
        state: loaded
  become: true

- name: Fetch a model while the instances serve
  gpufleet.ollama.instance_models:
    fetch_server:
      release: /usr/local/lib/ollama-multigpu/releases/0.32.15
      store: /var/lib/ollama-multigpu/fetch
    models:
      - instance: fetch
        name: llama3.1:8b
        store: /var/lib/ollama-multigpu/fetch
        link_from:
          - /var/lib/ollama-multigpu/instances/gpu0
  become: true

- name: Remove a model from one instance
  gpufleet.ollama.instance_models:
    models:
      - instance: gpu1
        name: llama3.1:8b
        url: http://127.0.0.1:11435
        state: absent
"""

RETURN = r"""
models:
  description:
    - The result of each entry, in the order of O(models).
    - Entries that failed or were skipped are left out.
  returned: always
  type: list
  elements: dict
  contains:
    instance:
      description: The instance, as given.
      type: str
      sample: gpu0
    name:
      description: The model, with its tag.
      type: str
      sample: llama3.1:8b-optimized
    store:
      description: The models directory, as given.
      type: str
      sample: /var/lib/ollama-multigpu/instances/gpu0
    state:
      description: The wanted state, as given.
      type: str
      sample: present
    changed:
      description: Whether something was changed, or would be changed in check mode.
      type: bool
    action:
      description: What was done, or would be done in check mode.
      type: str
      choices: [none, link, copy, pull, import, create, alias, delete, load, reload, keep_alive, unload]
      sample: create
    digest:
      description: Manifest digest of the model afterwards. Null if it is absent, or if it is not known in check mode.
      type: str
      sample: sha256:46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e
    pulled_bytes:
      description:
        - Bytes of the blobs that come from the registry, including those of the base. Null if that is not known.
        - What an interrupted pull had already downloaded is included.
      type: int
      sample: 4920753328
    loaded:
      description:
        - The loaded model as RV(gpufleet.ollama.model#module:loaded) describes it, with C(size_bytes),
          C(size_vram_bytes), C(context_length) and C(expires_at). Null if it is not loaded.
      type: dict
    header_differs:
      description:
        - Whether the model files have other headers than O(models[].headers). Null if they were not compared.
      type: bool
held_back:
  description:
    - The entries that were not processed because RV(models[].header_differs) is true for a model, with C(instance),
      C(name) and C(state).
  returned: always
  type: list
  elements: dict
"""

import os
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.ensure_list import Progress, ensure_all
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.fetch import fetch_all
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.fetch_server import FetchServer, FetchServerError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.login import login_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.model_options import (
    model_diffs,
    model_options,
    read_models,
    result_of,
    warnings_of,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError

#: The user whom the stores of instances belong to; None, in tests, for whoever owns one.
STORE_USER: Optional[str] = paths.USER


def argument_spec() -> dict[str, Any]:
    """Return the options."""
    server = dict(
        release=dict(type="path", required=True),
        store=dict(type="path", required=True),
        environment=dict(type="dict", default={}),
    )
    return dict(model_options(), **login_options(), fetch_server=dict(type="dict", no_log=True, options=server))


def ensured(params: dict[str, Any], check_mode: bool) -> Progress:
    """Bring the models of checked options into their states.

    Raises:
        FetchServerError, ModelError, OSError: Nothing was done.
        LibraryMissing: requests is not installed.
    """
    models, given = read_models(params, STORE_USER), params["fetch_server"]
    if not given:
        return ensure_all(models, check_mode)
    for model in models:
        if model.state != "present" or model.store is None or model.store.path != os.path.normpath(given["store"]):
            raise ModelError(
                "%s of instance %s: fetch_server brings models into its own store, %s; give that store and state: "
                "present. Nothing was changed." % (model.name, model.instance, given["store"])
            )
    environment = {name: str(value) for name, value in given["environment"].items()}
    server = FetchServer(given["release"], os.path.normpath(given["store"]), environment, STORE_USER)
    return fetch_all(models, server, check_mode)


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        progress = ensured(take_options(module), module.check_mode)
    except LibraryMissing as error:
        module.fail_json(**error.as_failure())
    except (FetchServerError, ModelError, OSError) as error:
        module.fail_json(msg=str(error), models=[], held_back=[])
    for warning in warnings_of(progress):
        module.warn(warning)
    result = dict(
        changed=any(outcome.changed for wanted, outcome in progress.done),
        models=[result_of(wanted, outcome) for wanted, outcome in progress.done],
        held_back=[
            dict(instance=wanted.instance, name=str(wanted.name), state=wanted.state) for wanted in progress.held_back
        ],
    )
    if module._diff:
        result["diff"] = model_diffs(progress.done, details=module._verbosity > 0)
    if progress.failures:
        module.fail_json(msg=progress.message(), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
