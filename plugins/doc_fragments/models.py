# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations


class ModuleDocFragment:
    """The options of the modules that manage a list of models."""

    DOCUMENTATION = r"""
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
      file:
        description:
          - A GGUF file that the model, or its base, comes from, and from no registry. Its blob in O(models[].store),
            which is required, has the bytes of the file.
          - Its suboptions except C(kind) and C(where) are those of
            RV(gpufleet.ollama.model_info#module:model.own_file).
        type: dict
        suboptions:
          kind:
            description:
              - Whether the file is on the controller (V(file)), on this host (V(host_file)) or behind an address
                (V(url)). M(gpufleet.ollama.model_file) sends the file of the controller.
            type: str
            choices: [file, host_file, url]
            required: true
          where:
            description:
              - Its path or address.
            type: str
            required: true
          sha256:
            description:
              - Its SHA-256, with which it is compared.
            type: str
            required: true
          size_bytes:
            description:
              - Its size.
            type: int
            required: true
          architecture:
            description:
              - Architecture of the model.
            type: str
            required: true
          model_type:
            description:
              - Number of parameters, as V(8.0B).
            type: str
          file_type:
            description:
              - Quantization, as V(Q4_K_M).
            type: str
      adapters:
        description:
          - LoRA adapters for the built model, as GGUF files that are brought into O(models[].store), which is required.
          - Their suboptions are those of O(models[].file). Ollama takes one.
        type: list
        elements: dict
        suboptions:
          kind:
            description:
              - Where the file is, as in O(models[].file).
            type: str
            choices: [file, host_file, url]
            required: true
          where:
            description:
              - Its path or address.
            type: str
            required: true
          sha256:
            description:
              - Its SHA-256, with which it is compared.
            type: str
            required: true
          size_bytes:
            description:
              - Its size.
            type: int
            required: true
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
      keep_blobs:
        description:
          - Whether the blobs of a model that is removed stay in O(models[].store), so that it need not be fetched when
            it comes back.
        type: bool
        default: false
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
      staged_as:
        description:
          - Another name under which a store of O(models[].link_from) may have the built model.
        type: str
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
"""
