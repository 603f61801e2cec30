#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The models of all Ollama instances of a host: thin, see module_utils/ollama/ensure.py."""

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
    where O(models[].link_from) names the first store.
  - The stores belong to the user C(ollama), and what happens in them is done as that user. The module itself runs as
    root.
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
      - Also works where the servers are not running or not installed yet.
      - An entry that needs what an earlier entry of the list would bring is reported as changed and does not fail.
  diff_mode:
    support: full
requirements:
  - requests, which the collection brings along
options:
  models:
    description:
      - The models, in the order in which they are processed.
      - A model must come after the model that it is built on, and after its draft model.
      - An empty value of a suboption counts as not given.
    type: list
    elements: dict
    required: true
    suboptions:
      instance:
        description:
          - Name of the instance. It appears in results and messages.
        type: str
        required: true
      name:
        description:
          - The model, as V(llama3.1:8b) or V(host:port/namespace/model:tag). The default tag is V(latest).
        type: str
        required: true
      state:
        description:
          - V(present) makes the model available, V(absent) removes it from this instance.
          - V(loaded) loads it, or loads it again where the loaded model is older than the one in the store.
            The model must be present.
          - V(unloaded) removes it from the GPUs.
        type: str
        choices: [present, absent, loaded, unloaded]
        default: present
      url:
        description:
          - Address of the instance's API.
        type: str
        default: http://127.0.0.1:11434
      store:
        description:
          - Models directory of the instance on this host.
          - It is required for O(models[].link_from), for the check of free space before a pull, and to manage models
            while the server is not running.
          - It must belong to the user C(ollama). Everything in it is done as that user, and symbolic links in it are
            refused.
        type: path
      link_from:
        description:
          - Models directories on this host. A model that one of them has in the wanted form is brought into
            O(models[].store) from there and not pulled or created again.
          - Blobs are hard-linked where they are on the same file system as O(models[].store) and belong to the same
            user. Otherwise they are copied.
        type: list
        elements: path
      from:
        description:
          - The model to build on. It is pulled first if it is missing.
        type: str
      draft:
        description:
          - Another model of the instance, whose file becomes the draft model of the built model (C(DRAFT)). It must
            come before this entry and have one file.
        type: str
      digest:
        description:
          - The manifest digest that the model must have. For a built model, the digest that its base must have.
        type: str
      planned_digest:
        description:
          - The manifest digest that the plan was made from. A model that has to be pulled must have it in the registry.
            Otherwise the module fails before it is pulled.
          - A model that is on the host already may have another digest.
        type: str
      headers:
        description:
          - The headers that the plan was made from, as M(gpufleet.ollama.model_info) returns them in
            RV(gpufleet.ollama.model_info#module:model.headers).
          - The model files in O(models[].store) are compared with them once they are there. If they differ, the plan
            is wrong. The module then only brings further models and deletes, unloads and loads none.
        type: list
        elements: dict
        suboptions:
          header_bytes:
            description:
              - Size of the header.
            type: int
            required: true
          header_sha256:
            description:
              - SHA-256 of these bytes at the beginning of the file.
            type: str
            required: true
      insecure:
        description:
          - Whether the server may use plain HTTP with the registry.
        type: bool
        default: false
      same_as:
        description:
          - Another model of the instance, which is the model that O(models[].name) shall name as well, with the same
            parameters. A request under either name is then served without loading the model again.
          - The model that was pulled under O(models[].name) stays known in O(models[].store), which is required. Models
            are built on it, and O(models[].digest) is compared with it.
        type: str
      aliases:
        description:
          - Further names of the model, under which it may be loaded.
        type: list
        elements: str
      parameters:
        description:
          - Parameters of the built model. They override those of its base.
        type: dict
      system:
        description:
          - System message of the built model.
        type: str
      template:
        description:
          - Template of the built model.
        type: str
      keep_alive:
        description:
          - How long the model stays loaded, in seconds or as V(10m). With V(-1) it never expires.
        type: str
        default: "-1"
  registry:
    description:
      - Host and port of a mirror to pull from instead of the registries in the models' names.
      - The models keep their names.
    type: str
  timeout:
    description:
      - Seconds without progress after which a pull or a request fails. The whole pull may take longer.
      - Loading a model may take at least half an hour, because the server reports no progress.
    type: int
    default: 120
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
      choices: [none, link, copy, pull, create, alias, delete, load, reload, keep_alive, unload]
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

from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.ensure import (
    EXPECTED_ERRORS,
    Progress,
    WantedModel,
    ensure_all,
    read_wanted,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError, Outcome

#: The user whom the stores of instances belong to; None, in tests, for whoever owns one.
STORE_USER: Optional[str] = paths.USER


def argument_spec() -> dict[str, Any]:
    """Return the options."""
    model = dict(
        instance=dict(type="str", required=True),
        name=dict(type="str", required=True),
        state=dict(type="str", choices=["present", "absent", "loaded", "unloaded"], default="present"),
        url=dict(type="str", default="http://127.0.0.1:11434"),
        store=dict(type="path"),
        link_from=dict(type="list", elements="path"),
        draft=dict(type="str"),
        digest=dict(type="str"),
        planned_digest=dict(type="str"),
        headers=dict(
            type="list",
            elements="dict",
            options=dict(header_bytes=dict(type="int", required=True), header_sha256=dict(type="str", required=True)),
        ),
        insecure=dict(type="bool", default=False),
        parameters=dict(type="dict"),
        system=dict(type="str"),
        template=dict(type="str"),
        same_as=dict(type="str"),
        aliases=dict(type="list", elements="str"),
        keep_alive=dict(type="str", default="-1"),
        **{"from": dict(type="str")},
    )
    return dict(
        models=dict(type="list", elements="dict", required=True, options=model),
        registry=dict(type="str"),
        timeout=dict(type="int", default=120),
    )


def read_models(params: dict[str, Any]) -> list[WantedModel]:
    """Return the wanted models of checked options.

    Raises:
        ModelError: An entry is wrong. The message names it; nothing was changed.
    """
    wanted = []
    for entry in params["models"]:
        options = dict(
            entry,
            system=entry["system"] or None,  # Ollama inherits the text of the base where it is given an empty one
            template=entry["template"] or None,
            registry=params["registry"] or None,
            timeout=params["timeout"],
            source=None,
            modelfile=None,
            adapters=None,
        )
        try:
            wanted.append(read_wanted(options, entry["instance"], STORE_USER))
        except EXPECTED_ERRORS as error:
            raise ModelError("%s of instance %s: %s. Nothing was changed." % (entry["name"], entry["instance"], error))
    return wanted


def result_of(wanted: WantedModel, outcome: Outcome) -> dict[str, Any]:
    """Return one entry of `models` in the result."""
    return dict(
        instance=wanted.instance,
        name=str(wanted.name),
        store=wanted.store.path if wanted.store else None,
        state=wanted.state,
        changed=outcome.changed,
        action=outcome.action,
        digest=outcome.digest,
        pulled_bytes=outcome.pulled_bytes,
        loaded=outcome.loaded,
        header_differs=outcome.header_differs,
    )


def warnings_of(progress: Progress) -> list[str]:
    """Return what the user should know: warnings of the entries, and which of them a wrong plan holds back."""
    found = [warning for wanted, outcome in progress.done for warning in outcome.warnings]
    if progress.held_back:
        models = ", ".join("%s of %s" % (wanted.name, wanted.instance) for wanted in progress.differing())
        found.append(
            "The header of %s is not the one that the plan was made from, so nothing was deleted, unloaded or loaded; "
            "plan again with the model in the store." % models
        )
    return found


def diff_of(wanted: WantedModel, outcome: Outcome) -> dict[str, Any]:
    """Return the difference that one entry makes, in Ansible's form."""
    header = "%s: %s" % (wanted.instance, wanted.name)
    return dict(before=outcome.before, after=outcome.after, before_header=header, after_header=header)


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        progress = ensure_all(read_models(take_options(module)), module.check_mode)
    except LibraryMissing as error:
        module.fail_json(**error.as_failure())
    except ModelError as error:
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
        result["diff"] = [diff_of(wanted, outcome) for wanted, outcome in progress.done if outcome.changed]
    if progress.failures:
        module.fail_json(msg=progress.message(), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
