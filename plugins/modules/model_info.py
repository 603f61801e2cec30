#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts of a model from its header: thin, see module_utils/model/gguf."""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_info
short_description: Read the layers and hyperparameters of a model before it is pulled
version_added: "1.0.0"
description:
  - Reads the header of a model and returns the exact size of each layer and the hyperparameters from which the memory
    of the model is predicted.
  - From a registry it reads the manifest and a few ranges of the model files, at most 16 MiB (and as much again of a
    draft model), so a plan needs no pull.
  - It changes nothing except the entries in O(cache_dir).
author:
  - The gpufleet.ollama contributors (@gpufleet)
extends_documentation_fragment:
  - gpufleet.ollama.attributes
  - gpufleet.ollama.attributes.actiongroup_all
  - gpufleet.ollama.header_sources
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
requirements:
  - requests, which the collection brings along
seealso:
  - module: gpufleet.ollama.placement_info
  - module: gpufleet.ollama.model
"""

EXAMPLES = r"""
- name: Read the header of a model from the registry, before any pull
  gpufleet.ollama.model_info:
    name: llama3.1:8b
  register: llama

- name: Read it once for all hosts, on the controller
  gpufleet.ollama.model_info:
    name: llama4:16x17b
    registry: mirror.example.com:5000
    cache_dir: "{{ lookup('env', 'HOME') }}/.cache/gpufleet-headers"
  delegate_to: localhost
  become: false
  register: scout

- name: Read a GGUF file behind an address
  gpufleet.ollama.model_info:
    name: qwen-of-mine
    source: address
    address: https://files.example.com/qwen3-32b-q4_k_m.gguf
    sha256: 46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e

- name: Read a LoRA adapter for a model
  gpufleet.ollama.model_info:
    name: llama3.1:8b
    adapter: true
    source: file
    path: /srv/models/support-desk-lora.gguf

- name: Read a GGUF file
  gpufleet.ollama.model_info:
    source: file
    path: /srv/models/qwen3-32b-q4_k_m.gguf
  register: qwen
"""

RETURN = r"""
model:
  description: The model. What the header does not contain is null.
  returned: success, without O(adapter)
  type: dict
  contains:
    name:
      description: Name of the model with its tag.
      type: str
      sample: llama3.1:8b
    source:
      description: Where the header was read.
      type: str
      sample: registry
    digest:
      description: Digest of the manifest. Null for a file of which no SHA-256 is known.
      type: str
      sample: sha256:46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e
    size_bytes:
      description: Bytes of all blobs of the manifest, as Ollama lists them.
      type: int
      sample: 4920753328
    file_bytes:
      description:
        - Bytes of the model file alone. From a server whose files cannot be read it is RV(model.size_bytes), which is
          some KiB more.
      type: int
      sample: 4920738944
    architecture:
      description: Architecture of the model.
      type: str
      sample: llama
    parameter_count:
      description: Number of parameters.
      type: int
      sample: 8030261312
    quantization:
      description: Quantization of most tensors.
      type: str
      sample: Q4_K_M
    block_count:
      description: Number of layers (blocks) without the output layer.
      type: int
    context_length:
      description: Context length that the model was trained for.
      type: int
      sample: 131072
    embedding_length:
      description: Width of the model (elements of an embedding).
      type: int
      sample: 4096
    feed_forward_length:
      description: Width of the feed-forward part. The largest if layers differ.
      type: int
    vocab_size:
      description: Number of tokens in the vocabulary (rows of the token embedding).
      type: int
      sample: 128256
    head_count:
      description: Number of attention heads per layer.
      type: list
      elements: int
    head_count_kv:
      description: Number of key and value heads per layer. 0 for a layer without a KV cache.
      type: list
      elements: int
    key_length:
      description: Elements of a key per head.
      type: int
    value_length:
      description: Elements of a value per head.
      type: int
    key_length_mla:
      description: Elements of a key with multi-head latent attention.
      type: int
    value_length_mla:
      description: Elements of a value with multi-head latent attention.
      type: int
    kv_lora_rank:
      description: Rank of the compressed keys and values with multi-head latent attention.
      type: int
    rope_dimension_count:
      description: Elements to which the rotary position embedding is applied.
      type: int
    sliding_window:
      description: Window of the layers with sliding window attention, in tokens.
      type: int
    sliding_window_pattern:
      description: Which layers have sliding window attention, as a list of booleans or as a period.
      type: raw
    attention_chunk_size:
      description: Length of a chunk of the layers with chunked attention, in tokens.
      type: int
    expert_count:
      description: Number of experts per layer.
      type: int
    expert_used_count:
      description: Number of experts that each token uses.
      type: int
    expert_feed_forward_length:
      description: Width of the feed-forward part of an expert.
      type: int
    leading_dense_block_count:
      description: Number of layers without experts at the beginning.
      type: int
    full_attention_interval:
      description: Distance between layers with full attention. The layers between them are recurrent.
      type: int
    shared_kv_layers:
      description: Number of layers at the end that use the KV cache of earlier layers.
      type: int
    ssm:
      description: Sizes of the recurrent layers. Null for a model without recurrent layers.
      type: dict
      contains:
        conv_kernel:
          description: Length of the convolution.
          type: int
        inner_size:
          description: Width inside a layer.
          type: int
        state_size:
          description: Elements of the state per channel.
          type: int
        group_count:
          description: Groups that share their inputs.
          type: int
        time_step_rank:
          description: Rank of the time step. In some architectures the number of heads.
          type: int
    hyperparameters:
      description:
        - All numbers that the header has under the name of the architecture, and all lists with one number per layer.
          The keys are without the name of the architecture.
      type: dict
    layers:
      description: The layers with their sizes.
      type: list
      elements: dict
      contains:
        index:
          description: Number of the layer, from 0.
          type: int
        weight_bytes:
          description: Bytes of all tensors of the layer.
          type: int
        expert_bytes:
          description: The part of RV(model.layers[].weight_bytes) that experts take.
          type: int
        ffn_up_bytes:
          description:
            - Bytes of the tensors whose names begin with C(ffn_up), including those of experts. llama.cpp moves them to
              the CPU together.
          type: int
        ffn_gate_bytes:
          description: Bytes of the tensors whose names begin with C(ffn_gate).
          type: int
        ffn_down_bytes:
          description: Bytes of the tensors whose names begin with C(ffn_down).
          type: int
        kind:
          description:
            - Index of the layer's set of tensors in RV(model.layer_kinds). Null for a layer without tensors, or with
              more tensors than any known model has.
          type: int
        sizes:
          description: Index of the sizes of its tensors in RV(model.layer_sizes). Null in the same cases.
          type: int
    layer_kinds:
      description: The different sets of tensors of the layers, as shapes by name. The compute buffers follow from them.
      type: list
      elements: dict
    layer_sizes:
      description: The different sets of tensor sizes of the layers, as bytes by name.
      type: list
      elements: dict
    other_sizes:
      description: Bytes of the tensors of the text model that do not belong to a layer, by name.
      type: dict
    output_bytes:
      description: Bytes of the output layer and of the tensors that are placed with it.
      type: int
      sample: 430972928
    embedding_bytes:
      description: Bytes of the token embedding, which stays in the host's memory.
      type: int
      sample: 295501824
    token_embedding_bytes:
      description: The part of RV(model.embedding_bytes) that a tied output layer uses too.
      type: int
      sample: 295501824
    tied_embeddings:
      description: Whether the output layer uses the token embedding, which is then in the memory of a GPU too.
      type: bool
    projector_bytes:
      description: Bytes of the projector (the vision or audio part). Null if a server only reports that there is one.
      type: int
    projector_separate:
      description: Whether the projector is a separate file.
      type: bool
    estimator:
      description:
        - Sizes of single tensors and of the vision part that only the estimators of Ollama up to 0.24 use. Null for
          what the header does not contain.
      type: dict
      contains:
        gate_expert_bytes:
          description: Bytes of C(blk.0.ffn_gate_exps.weight).
          type: int
        gate_split_length:
          description: Number of rows of C(blk.0.ffn_gate.0.weight), which Mixtral files of 2023 have.
          type: int
        qkv_bias_length:
          description: Number of elements of C(blk.0.attn_qkv.bias).
          type: int
        token_embedding_bytes:
          description: Bytes of C(token_embd.weight).
          type: int
        rope_frequencies:
          description: Number of elements of C(rope_freqs.weights).
          type: int
        cross_attention_layers:
          description: Indexes of the layers with cross attention.
          type: list
          elements: int
        vision:
          description: Sizes of the vision part in the model file. Null if there is none.
          type: dict
    split_count:
      description: Number of files that the model is split into.
      type: int
    capabilities:
      description: Capabilities of the model, as far as the source reports them.
      type: list
      elements: str
      sample: [completion]
    tensor_count:
      description: Number of tensors in the model file.
      type: int
    parameters:
      description:
        - The model's own parameters, which Ollama uses on every load of it. Null if it has none.
      type: dict
      sample: {"stop": ["<|eot_id|>"]}
    adapters:
      description: The LoRA adapters of the model. Ollama loads them together with it.
      type: list
      elements: dict
      contains:
        digest:
          description: Digest of the file. Null for a server.
          type: str
          sample: sha256:46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e
        size_bytes:
          description: Bytes of the file.
          type: int
          sample: 83905248
        layer_bytes:
          description: Bytes of the tensors by the layer that they change. The keys are numbers of layers as strings.
          type: dict
          sample: {"0": 2621440, "1": 2621440}
        other_bytes:
          description: Bytes of the tensors that change the output layer, or a tensor that is placed with it.
          type: int
        embedding_bytes:
          description: Bytes of the tensors that change the token embedding.
          type: int
        rank:
          description: The largest rank of its matrices.
          type: int
          sample: 16
    draft:
      description:
        - The draft model of a model with speculative decoding, with the keys of RV(model). Null if the manifest has
          none.
      type: dict
    own_file:
      description:
        - What the manifest of a GGUF file says, with C(sha256), C(size_bytes), C(architecture), C(model_type) and
          C(file_type). Only for files of which the SHA-256 is known.
      type: dict
    headers:
      description:
        - The headers that were read, in the order of the model files and then of the projector, the adapters and the
          draft model.
        - They tell whether a model file on a host has the header that a plan was made from. Null for a server.
      type: list
      elements: dict
      contains:
        header_bytes:
          description: Size of the header.
          type: int
        header_sha256:
          description: SHA-256 of these bytes at the beginning of the file.
          type: str
adapter:
  description:
    - The LoRA adapter. C(name) is its model, as given, C(sha256) and C(size_bytes) are those of the file,
      C(architecture) is what it was made for, and C(rank) is the largest of its matrices.
    - Bytes of its tensors are C(layer_bytes) by the number of the layer, C(embedding_bytes) and C(other_bytes).
    - C(shapes) are the sizes of the matrices of a layer that it changes, by name.
  returned: success, with O(adapter)
  type: dict
bytes_read:
  description:
    - Bytes that were read from the registry or from disk.
    - It is 0 for a server without adapters or a draft model. If the header was in the cache, it is the size of the
      manifest.
  returned: success
  type: int
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import InvalidName, parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import own, source
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.cache import Cache, CacheError
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import HeaderError
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.source import SourceError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaClient, OllamaError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.file_address import AddressError, FileAtAddress
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.login import LoginRefused, login_of, login_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry import Registry, RegistryError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store, StoreError


def read_adapter(params: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Return the adapter (dict) and the bytes that were read for it. Raises what the sources raise."""
    name, cache = str(parse(params["name"])), Cache(params["cache_dir"])
    if params["source"] == "file":
        found, bytes_read = own.adapter_from_file(params["path"], params["sha256"] or None, cache)
    elif params["source"] == "address":
        address = FileAtAddress(params["address"], params["timeout"])
        found, bytes_read = own.adapter_from_address(address, params["sha256"], cache)
    else:
        raise SourceError("an adapter is a file: give source: file or source: address, not %s" % params["source"])
    return dict(found, name=name), bytes_read


def read_model(params: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Return the model (dict) and the bytes that were read for it. Raises what the sources raise."""
    kind, name = params["source"], params["name"]
    if kind == "file" and (params["sha256"] or params["hash"]):
        cache = Cache(params["cache_dir"])
        return own.from_own_file(params["path"], str(parse(name)), params["sha256"] or None, cache)
    if kind == "file":
        return source.from_file(params["path"], name)
    parse(name)
    if kind == "address":
        address = FileAtAddress(params["address"], params["timeout"])
        return own.from_address(address, str(parse(name)), params["sha256"], Cache(params["cache_dir"]))
    if kind == "server":
        return source.from_server(OllamaClient(params["url"], params["timeout"]), name)
    if kind == "store":
        return source.from_store(Store(params["store"]), name)
    registry = Registry(parse(name), params["registry"], params["insecure"], params["timeout"], login_of(params))
    return source.from_registry(registry, name, Cache(params["cache_dir"]), params["refresh"])


#: What reading a model raises; the text is a message for the user.
ERRORS = (AddressError, CacheError, HeaderError, InvalidName, OllamaError, RegistryError, SourceError, StoreError)


def argument_spec():
    """Return the options."""
    return dict(
        name=dict(type="str"),
        source=dict(type="str", choices=["registry", "server", "store", "file", "address"], default="registry"),
        registry=dict(type="str"),
        **login_options(),
        insecure=dict(type="bool", default=False),
        url=dict(type="str", default="http://127.0.0.1:11434"),
        store=dict(type="path"),
        path=dict(type="path"),
        address=dict(type="str"),
        sha256=dict(type="str"),
        hash=dict(type="bool", default=False),
        adapter=dict(type="bool", default=False),
        cache_dir=dict(type="path"),
        refresh=dict(type="bool", default=False),
        timeout=dict(type="int", default=30),
    )


def result(params):
    """Return the result for checked options. Raises LibraryMissing and ERRORS."""
    if params["timeout"] <= 0:
        raise SourceError("timeout %d must be at least one second" % params["timeout"])
    try:
        login_of(params)
    except LoginRefused as error:
        raise SourceError(str(error))
    if params["adapter"]:
        adapter, bytes_read = read_adapter(params)
        return dict(changed=False, adapter=adapter, bytes_read=bytes_read)
    model, bytes_read = read_model(params)
    return dict(changed=False, model=model, bytes_read=bytes_read)


def main():
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[
            ("source", "registry", ["name"]),
            ("source", "server", ["name"]),
            ("source", "store", ["name", "store"]),
            ("source", "file", ["path"]),
            ("source", "address", ["name", "address", "sha256"]),
            ("adapter", True, ["name"]),
        ],
        supports_check_mode=True,
    )
    try:
        found = result(take_options(module))
    except LibraryMissing as error:
        module.fail_json(**error.as_failure())
    except ERRORS as error:
        module.fail_json(msg=str(error))
    module.exit_json(**found)


if __name__ == "__main__":
    main()
