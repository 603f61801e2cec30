# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations


class ModuleDocFragment:
    """The models of a host as module placement_info takes them."""

    DOCUMENTATION = r"""
options:
  models:
    description:
      - The models of this host.
      - All of them are planned together.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the model, for example V(llama4:16x17b).
        type: str
        required: true
      model:
        description:
          - The facts of the model, as M(gpufleet.ollama.model_info) returns them in
            RV(gpufleet.ollama.model_info#module:model).
          - It is required unless O(headers) has it.
        type: dict
      context_length:
        description:
          - Context length of one request, in tokens.
          - V(auto) takes the largest that fits.
          - The default is the model's own C(num_ctx), or else 8192; at most the length that it was trained for.
        type: str
      parallel:
        description: Number of requests that one instance serves at the same time. The KV cache grows with it.
        type: int
        default: 1
      kv_cache_type:
        description: Type of the KV cache. The default is V(f16), as in Ollama.
        type: str
      flash_attention:
        description:
          - Whether to force flash attention on or off.
          - By default the engine decides, and uses it if the GPU supports it.
        type: bool
      ubatch:
        description:
          - Size of a physical batch, in tokens. The default is the model's own C(num_batch), else that of the release.
        type: int
      strategy:
        description:
          - V(single) puts the model on one GPU.
          - V(replicate) runs it in several instances with one GPU each.
          - V(split) splits it over the fewest GPUs that hold it.
          - V(spread) splits it over all GPUs, even if fewer would be enough.
          - V(auto) chooses one of them.
        type: str
        choices: [auto, single, replicate, split, spread]
        default: auto
      replicas:
        description:
          - Number of instances that serve the model. The default is one, or one per GPU with
            O(models[].strategy=replicate).
        type: int
      speculative:
        description:
          - Speculative decoding. It becomes the parameter C(draft_num_predict), which decides by default; that is V(4)
            if the manifest of the model has a draft model, and else V(0).
        type: dict
        suboptions:
          type:
            description: What proposes tokens. V(mtp) are heads, V(draft) is a draft model.
            type: str
            required: true
            choices: [none, mtp, draft]
          draft:
            description:
              - The model whose file becomes the draft model, with V(draft). O(headers) must have its header.
              - The default is the draft model in the manifest.
              - Ollama starts no ordinary small model as a draft model. It starts models of heads that predict further
                tokens (C(nextn_predict_layers), such as C(gemma4-assistant)) and, from 0.32.7 on, models of the
                architecture C(dflash). Each is made for one model; others are refused.
            type: str
          tokens:
            description: Most tokens that are proposed at once. The default is 4.
            type: int
      allow_cpu_offload:
        description: Whether layers may stay in the memory of the host if the GPUs cannot hold the whole model.
        type: bool
        default: false
      cpu_experts:
        description:
          - Number of layers, counted from the first, whose experts stay in the memory of the host, or V(all). Needs a
            mixture-of-experts model and Ollama 0.30 or later. Excludes O(models[].allow_cpu_offload).
        type: str
      headroom_bytes:
        description: Bytes to keep free on every GPU that serves this model. The default is O(headroom_bytes).
        type: int
      keep_alive:
        description:
          - How long the model stays loaded, in seconds or as V(10m). With V(-1) it never expires, unless
            O(models[].resident=false), where the default is five minutes.
        type: raw
        default: -1
      source:
        description:
          - A GGUF file of your own that the model comes from. O(models[].model) must be the facts of that file, with
            RV(gpufleet.ollama.model_info#module:model.own_file).
          - Exactly one of V(file), V(host_file) and V(url) is required.
        type: dict
        suboptions:
          file:
            description: Its path on the controller.
            type: str
          host_file:
            description: Its path on the host.
            type: str
          url:
            description: Its address, without a user name and password.
            type: str
          sha256:
            description: Its SHA-256. Only a file on the controller does not need it.
            type: str
      refresh:
        description:
          - Whether the model that O(models[].model) describes replaces another one that the host has under the name.
          - By default a model on the host stays as it is, although its tag has moved in the registry.
        type: bool
        default: false
      aliases:
        description:
          - Further names that clients use, such as V(chat), and that stay while the model behind them changes.
          - On a host an alias names one model. It cannot be the name of another model of the host.
        type: list
        elements: str
      resident:
        description:
          - Whether the model stays loaded. With V(false) the first request loads it, in an instance beside those of the
            resident models, which it never evicts. Of an instance of such models one is loaded at a time.
        type: bool
        default: true
      insecure:
        description: Whether the model may be pulled over plain HTTP or without a check of the certificate.
        type: bool
        default: false
      digest:
        description: The manifest digest that the model must have.
        type: str
      optimized:
        description:
          - Additions to the optimized model that is built on this one with the planned parameters.
        type: dict
        suboptions:
          suffix:
            description: Text that is appended to the tag.
            type: str
            default: -optimized
          parameters:
            description:
              - Parameters of the optimized model.
            type: dict
          system:
            description: System message of the optimized model.
            type: str
          template:
            description: Template of the optimized model.
            type: str
          adapters:
            description:
              - A LoRA adapter as a GGUF file of your own, which is added to the model. O(adapters) must have what
                M(gpufleet.ollama.model_info) returned for it. Ollama adds one adapter to a model.
              - Exactly one of V(file), V(host_file) and V(url) is required.
            type: list
            elements: dict
            suboptions:
              file:
                description: Its path on the controller.
                type: str
              host_file:
                description: Its path on the host.
                type: str
              url:
                description: Its address, without a user name and password.
                type: str
              sha256:
                description: Its SHA-256. Only a file on the controller does not need it.
                type: str
      parameters:
        description: Parameters of the optimized model. O(models[].optimized.parameters) override them.
        type: dict
"""
