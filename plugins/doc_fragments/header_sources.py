# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations


class ModuleDocFragment:
    """Where module model_info reads the header of a model."""

    DOCUMENTATION = r"""
options:
  name:
    description:
      - The model, as V(llama3.1:8b) or V(host:port/namespace/model:tag).
      - Required unless O(source=file), where it is only the name in the result.
    type: str
  source:
    description:
      - Where the header is read.
      - V(registry) reads it from a registry, before the model is pulled.
      - V(server) asks the Ollama server at O(url), which must have the model.
      - V(store) reads the models directory O(store) on this host.
      - V(file) reads the GGUF file O(path) on this host.
      - V(address) reads the GGUF file at O(address), by a few ranges.
    type: str
    choices: [registry, server, store, file, address]
    default: registry
  registry:
    description:
      - Host and port of a mirror to read from instead of the registry in the model's name.
    type: str
  registry_username:
    description:
      - User name for O(registry), and for no other registry.
    type: str
  registry_password:
    description:
      - Password for O(registry). It is sent as C(Basic), or to get a token where the registry asks for C(Bearer).
    type: str
  insecure:
    description:
      - Whether to use plain HTTP with the registry.
    type: bool
    default: false
  url:
    description:
      - Address of the Ollama API for O(source=server).
    type: str
    default: http://127.0.0.1:11434
  store:
    description:
      - Models directory for O(source=store). It contains C(manifests) and C(blobs).
    type: path
  path:
    description:
      - GGUF file for O(source=file). For a split model, any of its files. The others must be in the same directory.
    type: path
  address:
    description:
      - Address of a GGUF file for O(source=address), which starts with C(https://) or C(http://).
    type: str
  sha256:
    description:
      - SHA-256 of the GGUF file, for O(source=file) and O(source=address). With it, RV(model.digest) is the digest that
        the file has as a model in a store, and RV(model.own_file) is returned.
      - It is required for O(source=address). It is compared with the file when that is brought into a store.
    type: str
  hash:
    description:
      - Whether to compute O(sha256) of O(path) where it is not given. O(cache_dir) keeps it as long as the size and the
        time of the file stay.
    type: bool
    default: false
  adapter:
    description:
      - Whether the file is a LoRA adapter that is added to the model O(name). RV(adapter) is returned then.
      - Only with O(source=file), whose SHA-256 is always computed and compared with O(sha256), and O(source=address).
    type: bool
    default: false
  cache_dir:
    description:
      - Directory in which the facts of a header are cached by the digest of the model file. Tasks of several hosts that
        are delegated to one machine then read the header once.
      - It is created with permissions for this user only. One that others may write, or that belongs to another user,
        is refused.
    type: path
  refresh:
    description:
      - Whether to read the header from the registry although O(cache_dir) has it. The entry there is replaced.
      - Use it after the header turned out not to be that of the model file.
    type: bool
    default: false
  timeout:
    description:
      - Seconds without data after which a request to a server or registry fails.
    type: int
    default: 30
"""
