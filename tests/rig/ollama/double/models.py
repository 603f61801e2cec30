# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model of the store as the API returns it: details, capabilities, parameters, Modelfile, tensors."""

from __future__ import annotations

import json
import os

from . import choosing, gguf, gotext
from .store import LAYER_TYPE

_CACHE = {}  # (path, full) -> (mtime, size, Header): one read per blob and server
_VISION = ("v.", "mm.")


def header(path, full=False):
    """The GGUF header of a blob, read once per state of the file."""
    stat = os.stat(path)
    cached = _CACHE.get((path, full))
    if cached and cached[:2] == (stat.st_mtime_ns, stat.st_size):
        return cached[2]
    found = gguf.read(path, full)
    _CACHE[path, full] = (stat.st_mtime_ns, stat.st_size, found)
    return found


class Model:
    """A manifest and the content of its layers."""

    def __init__(self, store, manifest):
        self.store, self.manifest, self.name = store, manifest, manifest.name
        self.config = json.loads(store.read(manifest.data["config"]["digest"]))
        self.path, self.parent = None, ""
        self.projectors, self.adapters, self.licenses = [], [], []
        self.draft = None
        self.template = self.system = ""
        self.parameters, self.messages = {}, []
        for layer in manifest.layers:
            self._take(layer["mediaType"][len(LAYER_TYPE) :], layer)

    def _take(self, kind, layer):
        digest = layer["digest"]
        if kind == "model":
            self.path, self.parent = self.store.blob_path(digest), layer.get("from", "")
        elif kind == "projector":
            self.projectors.append(self.store.blob_path(digest))
        elif kind == "draft":
            self.draft = self.store.blob_path(digest)
        elif kind == "adapter":
            self.adapters.append(self.store.blob_path(digest))
        elif kind in ("template", "prompt"):
            self.template = self.store.read(digest).decode()
        elif kind == "system":
            self.system = self.store.read(digest).decode()
        elif kind == "license":
            self.licenses.append(self.store.read(digest).decode())
        elif kind == "params":
            self.parameters.update(json.loads(self.store.read(digest)))
        elif kind == "messages":
            self.messages = json.loads(self.store.read(digest))

    @property
    def header(self):
        """The header of the model's GGUF file, without long arrays of texts."""
        return header(self.path)

    def details(self, parent=True):
        """The `details` object; in /api/ps without a parent."""
        return {
            "parent_model": self.parent if parent else "",
            "format": self.config.get("model_format", ""),
            "family": self.config.get("model_family", ""),
            "families": self.config.get("model_families"),
            "parameter_size": self.config.get("model_type", ""),
            "quantization_level": self.config.get("file_type", ""),
        }

    def capabilities(self):
        """The capabilities of the model, from its header and template."""
        found = ["embedding" if self.header.get("pooling_type") is not None else "completion"]
        if ".Tools" in self.template:
            found.append("tools")
        if ".Suffix" in self.template:
            found.append("insert")
        if self.projectors or self.header.get("vision.block_count") or self.projector_bytes():
            found.append("vision")
        return found

    def projector_bytes(self):
        """Bytes of the vision and audio tensors: the file of the projector, or `v.`, `mm.`, `a.` in the model file."""
        if self.projectors:
            return sum(tensor.bytes for path in self.projectors for tensor in header(path).tensors)
        return sum(tensor.bytes for tensor in self.header.tensors if tensor.name.startswith(_VISION + ("a.",)))

    def draft_kind(self):
        """How the engine can propose tokens for this model (llm/llama_server.go); None where it cannot."""
        if self.draft:
            return "draft-dflash" if header(self.draft).architecture == "dflash" else "draft-mtp"
        head = self.header
        older = head.architecture in ("qwen35", "qwen35moe") and any(
            tensor.name.startswith("mtp.") for tensor in head.tensors
        )
        return "draft-mtp" if older or head.number("nextn_predict_layers", max) > 0 else None

    def shape(self):
        """The values of the model that the choice of GPUs needs."""
        head = self.header
        return choosing.Model(
            file_bytes=head.size,
            architecture=head.architecture,
            block_count=head.number("block_count", max),
            embedding_length=head.number("embedding_length", max),
            head_count_max=head.number("attention.head_count", max),
            head_count_kv_min=head.number("attention.head_count_kv", min),
            context_length=head.number("context_length", max),
            embedding=head.get("pooling_type") is not None,
        )

    def parameter_lines(self):
        """The `parameters` text: one line per value, several for a list."""
        return "\n".join("%-30s %s" % (key, gotext.sharp(value)) for key, value in self._parameters())

    def _parameters(self):
        for key, values in self.parameters.items():
            for value in values if isinstance(values, list) else [values]:
                yield key, value

    def modelfile(self):
        """The Modelfile text that `ollama show` prints."""
        lines = [
            '# Modelfile generated by "ollama show"',
            "# To build a new Modelfile based on this, replace FROM with:",
            "# FROM %s" % self.name.shortest,
            "",
            "FROM %s" % self.path,
        ]
        lines += ["ADAPTER %s" % path for path in self.adapters]
        lines += ["DRAFT %s" % path for path in [self.draft] if path]
        lines += ["FROM %s" % path for path in self.projectors]
        if self.template:
            lines.append("TEMPLATE " + _quote(self.template))
        if self.system:
            lines.append("SYSTEM " + _quote(self.system))
        for key in ("renderer", "parser"):
            if self.config.get(key):
                lines.append("%s %s" % (key.upper(), _quote(self.config[key])))
        lines += ["PARAMETER %s %s" % (key, _quote(gotext.plain(value))) for key, value in self._parameters()]
        lines += ["LICENSE " + _quote(text) for text in self.licenses]
        lines += ["MESSAGE %s %s" % (message["role"], _quote(message["content"])) for message in self.messages]
        return "\n".join(lines) + "\n"

    def show(self, verbose):
        """The answer of /api/show."""
        head = header(self.path, verbose)
        info = {
            key: _shown(value, verbose)
            for key, value in sorted(head.values.items())
            if key not in ("general.name", "tokenizer.chat_template")
        }
        info["general.parameter_count"] = head.parameter_count
        answer = {"license": "\n".join(self.licenses)} if self.licenses else {}
        answer.update({"modelfile": self.modelfile()})
        for key, value in (
            ("parameters", self.parameter_lines()),
            ("template", self.template),
            ("system", self.system),
        ):
            if value:
                answer[key] = value
        answer["details"] = self.details()
        if self.messages:
            answer["messages"] = self.messages
        answer["model_info"] = info
        if self.projectors:
            projector = header(self.projectors[0])
            answer["projector_info"] = {key: _shown(value, False) for key, value in sorted(projector.values.items())}
        answer["tensors"] = [
            {"name": tensor.name, "type": tensor.type, "shape": tensor.shape} for tensor in head.tensors
        ]
        answer["capabilities"] = self.capabilities()
        answer["modified_at"] = self.manifest.modified_text
        if self.config.get("requires"):
            answer["requires"] = self.config["requires"]
        return answer

    def listed(self):
        """The entry of /api/tags."""
        details = self.details()
        details["context_length"] = self.header.number("context_length", max)
        details["embedding_length"] = self.header.number("embedding_length", max)
        return {
            "name": self.name.shortest,
            "model": self.name.shortest,
            "modified_at": self.manifest.modified_text,
            "size": self.manifest.size,
            "digest": self.manifest.digest,
            "details": details,
            "capabilities": self.capabilities(),
        }


def _shown(value, verbose):
    if isinstance(value, list) and len(value) > gguf.LONG and not verbose:
        return None
    if isinstance(value, float):
        short = float("%.7g" % value)  # a float32 in its shortest form; Go writes 1 for 1.0
        return int(short) if short.is_integer() else short
    return [_shown(item, verbose) for item in value] if isinstance(value, list) else value


def _quote(text):
    if "\n" in text or text.startswith(" ") or text.endswith(" "):
        return '"""%s"""' % text if '"' in text else '"%s"' % text
    return text
