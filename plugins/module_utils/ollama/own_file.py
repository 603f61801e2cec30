# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model that comes from a GGUF file of the user, and not from a registry. Pure.

It gets the manifest that a registry would serve for the file: one layer, which is the file as it is, and a
configuration. So its digest is known before anything is on a host, and what is known of models of a registry holds for
it: it is linked between stores, pinned and compared.

/api/create with `files` is not used. It has the engine copy the file (server/create.go of Ollama 0.32,
copyLayerWithLlamaQuantize): the model would have other bytes than the ones that were checked, and would be on the disk
twice. What create adds to the file, a template, is not needed since 0.30: llama-server uses the one in the file
(llm/llama_server.go, appendJinjaArgs).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Mapping

from ..common.names import normalise_digest
from . import manifest as media

#: Where a file is: on the controller, on the host, at an address.
KINDS = ("file", "host_file", "url")
_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"


@dataclass(frozen=True)
class OwnFile:
    """A GGUF file, and what its manifest says.

    Attributes:
        kind: one of KINDS.
        where: its path or address.
        sha256: of the file, 64 hexadecimal digits.
        size_bytes: of the file.
        architecture: `general.architecture` of its header; "" where no manifest is made of it (an adapter, a piece).
        model_type: number of parameters in words ("8.0B").
        file_type: quantization ("Q4_K_M").
    """

    kind: str
    where: str
    sha256: str
    size_bytes: int
    architecture: str = ""
    model_type: str = ""
    file_type: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> OwnFile:
        """Return the file that a plan, or an option of instance_models, describes.

        Raises:
            InvalidName: its hash is none.
            ValueError: it is of another kind.
        """
        if told["kind"] not in KINDS:
            raise ValueError("a model file is at a %s, not at a %s" % (", ".join(KINDS), told["kind"]))
        return cls(
            told["kind"],
            told["where"],
            normalise_digest(told["sha256"])[len("sha256:") :],
            int(told["size_bytes"]),
            told.get("architecture") or "",
            told.get("model_type") or "",
            told.get("file_type") or "",
        )

    def told(self) -> dict[str, Any]:
        """Return it as a plan tells it; `of` reads it again."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """Digest of the file's blob."""
        return "sha256:" + self.sha256

    def config(self) -> bytes:
        """Return the configuration (types/model/config.go of Ollama)."""
        return _json(
            {
                "model_format": "gguf",
                "model_family": self.architecture,
                "model_families": [self.architecture],
                "model_type": self.model_type,
                "file_type": self.file_type,
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [self.digest]},
            }
        )

    def manifest(self) -> media.Manifest:
        """Return the manifest."""
        config = self.config()
        return media.Manifest(
            _json(
                {
                    "schemaVersion": 2,
                    "mediaType": _MANIFEST_TYPE,
                    "config": {
                        "mediaType": _CONFIG_TYPE,
                        "digest": "sha256:" + hashlib.sha256(config).hexdigest(),
                        "size": len(config),
                    },
                    "layers": [{"mediaType": media.MODEL, "digest": self.digest, "size": self.size_bytes}],
                }
            )
        )


def parameters_in_words(count: Any) -> str:
    """Return a number of parameters as Ollama writes it (format/format.go, HumanNumber); "" for an unknown one."""
    if not isinstance(count, int) or count <= 0:
        return ""
    for unit, suffix in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            return "%.1f%s" % (count / unit, suffix) if suffix == "B" else "%.2f%s" % (count / unit, suffix)
    return str(count)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode("utf-8")
