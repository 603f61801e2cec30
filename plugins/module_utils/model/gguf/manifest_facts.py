# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Facts of a model from its manifest: all of its layers that act on a load.

Which do, and in which order, is that of Ollama server/images.go (`GetModel`): model files, the first projector,
adapters, the last draft model, and parameters.
"""

from __future__ import annotations

import json
from typing import Any, Callable, NamedTuple

from ...ollama import manifest as media
from ...ollama import parameters
from ...ollama.registry import RegistryError
from ...ollama.store_directory import StoreError
from .adapter import adapter_facts, misfit, read_adapter
from .facts import model_facts
from .header import Header, HeaderError, integer
from .parts import merge

CHUNK = 4 * 1000 * 1000  # two of them hold the header of a vocabulary of 128 thousand
SMALL_CHUNK = 256 * 1024  # projectors, adapters and the parts of a split model have no vocabulary
MAX_PARTS = 256  # of a split model, and adapters of a model
_WORDS = {
    media.PROJECTOR: "the projector of ",
    media.ADAPTER: "the adapter of ",
    media.DRAFT: "the draft model of ",
    media.PARAMETERS: "the parameters of ",
}


class SourceError(Exception):
    """The model cannot be read from this source. The text is one sentence."""


class Reads(NamedTuple):
    """How the layers of a manifest are read.

    `header(layer, chunk)` returns the header of one, asking for `chunk` bytes at a time where that matters;
    `blob(layer)` all bytes of a small one.
    """

    header: Callable[[media.Layer, int], Header]
    blob: Callable[[media.Layer], bytes]


def in_words(layer: media.Layer, name: str) -> str:
    """Return a layer of a model for a message: the model's name, or what the layer is of it."""
    return _WORDS.get(layer.media_type, "") + name


def noted(header: Header, read: list[dict[str, Any]]) -> Header:
    """Return a header; its size and checksum are added to `read`, in the order of Manifest.with_headers."""
    read.append({"header_bytes": header.size_bytes, "header_sha256": header.sha256})
    return header


def manifest_facts(manifest: media.Manifest, reads: Reads, name: str) -> dict[str, Any]:
    """Return the facts of a model (model.schema.ModelFacts) without name, source, digest and file sizes.

    Args:
        manifest: of the model.
        reads: how its layers are read.
        name: of the model.

    Raises:
        SourceError: it has no model in the GGUF format, or layers that Ollama cannot load.
        HeaderError: a header is damaged. `reads` may raise other exceptions.
    """
    layers, projectors = manifest.of_type(media.MODEL), manifest.projectors()
    adapters = manifest.of_type(media.ADAPTER)
    if not layers:
        raise SourceError(_no_model(manifest, reads, name))
    for found in (layers, adapters):
        if len(found) > MAX_PARTS:
            raise SourceError(
                "the manifest of %s lists %d model files of one kind, but no model has more than %d"
                % (name, len(found), MAX_PARTS)
            )
    own = _parameters(manifest, reads, name)
    chunks = [CHUNK] + [SMALL_CHUNK] * (len(layers) - 1)
    read: list[dict[str, Any]] = []
    model = merge(
        (_part(noted(reads.header(layer, chunks[index]), read), layers, name) for index, layer in enumerate(layers)),
        len(layers),
    )
    headers = [noted(reads.header(layer, SMALL_CHUNK), read) for layer in projectors]
    facts = model_facts(model, headers[0] if headers else None)
    facts["parameters"] = own
    facts["capabilities"] = _with_capabilities(facts["capabilities"], _configuration(manifest, reads, name))
    facts["adapters"] = [
        adapter(layer, noted(reads.header(layer, SMALL_CHUNK), read), facts, name) for layer in adapters
    ]
    facts["draft"] = facts["own_file"] = None
    for layer in manifest.drafts():
        facts["draft"] = draft(layer, noted(reads.header(layer, CHUNK), read), name)
    return dict(facts, headers=read)


def _no_model(manifest: media.Manifest, reads: Reads, name: str) -> str:
    """Return what is wrong with a manifest without a model file."""
    remote = _configuration(manifest, reads, name).get("remote_host")
    if remote:
        return (
            "%s is a model of another server (%.200s), which computes for it, so no GPU of this host is used and there "
            "is nothing to plan; leave it out of the models" % (name, remote)
        )
    return "the manifest of %s has no model in the GGUF format, so no plan can be made for it" % name


def _part(header: Header, layers: list[media.Layer], name: str) -> Header:
    """Return the header of a part of a split model.

    Raises:
        SourceError: it is a model of its own beside others. Ollama loads the last model layer of a manifest alone
            (server/images.go, `GetModel`).
    """
    if len(layers) > 1 and (integer(header.keys.get("split.count")) or 1) < 2:
        raise SourceError(
            "the manifest of %s lists %d models, which are not parts of one (they have no split.count), and Ollama "
            "would load the last one alone (%s): create the model again from one file"
            % (name, len(layers), layers[-1].digest[:19])
        )
    return header


def _parameters(manifest: media.Manifest, reads: Reads, name: str) -> dict[str, Any] | None:
    """Return the model's own parameters, None where it has none."""
    layers = manifest.of_type(media.PARAMETERS)
    size = sum(layer.size_bytes for layer in layers)
    if size > parameters.MAX_LAYER_BYTES:
        raise SourceError(
            "the manifest of %s has %d bytes of parameters, and no model has more than %d; get the model again"
            % (name, size, parameters.MAX_LAYER_BYTES)
        )
    try:
        return parameters.of_layers(reads.blob(layer) for layer in layers) or None
    except ValueError as error:
        raise SourceError(
            "a parameter layer of %s %s, so Ollama cannot load the model; get the model again" % (name, error)
        )


def _configuration(manifest: media.Manifest, reads: Reads, name: str) -> dict[str, Any]:
    """Return the configuration of a model, {} where the source does not have it: then nobody can load the model, and a
    pull brings it or fails.

    Raises:
        SourceError: it is no configuration, so that Ollama cannot load the model.
    """
    config = manifest.config
    if config is None or config.size_bytes > parameters.MAX_LAYER_BYTES:
        return {}
    try:
        found = json.loads(reads.blob(config).decode("utf-8", "replace"))
    except (RegistryError, StoreError):
        return {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SourceError(
            "the configuration of %s (%s) is not JSON, so Ollama cannot load the model; get the model again"
            % (name, config.digest[:19])
        )
    return found


def _with_capabilities(of_header: list[str], configuration: dict[str, Any]) -> list[str]:
    """Return the capabilities of a model: those of its header and those that its configuration adds (server/images.go,
    `configCapabilities`).

    A header says whether a model embeds only (a pooling type). "completion" beside that is not added, so that this can
    be told from a configuration which says of a model of texts that it embeds as well.
    """
    added = configuration.get("capabilities")
    names = [one for one in added if isinstance(one, str)] if isinstance(added, list) else []
    embeds_only = "completion" not in of_header
    return list(dict.fromkeys(of_header + [one for one in names if not (embeds_only and one == "completion")]))


def adapter(layer: media.Layer, header: Header, model: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the facts of an adapter.

    Args:
        layer: of the manifest.
        header: of its file.
        model: facts of the model that it changes.
        name: of that model.

    Raises:
        SourceError: it is made for another model.
        HeaderError: its size cannot be computed.
    """
    try:
        found = read_adapter(header)
    except HeaderError as error:
        raise HeaderError("%s cannot be read: %s" % (in_words(layer, name), error))
    wrong = misfit(found, model)
    if wrong:
        raise SourceError(
            "%s %s, so Ollama cannot load it: create the model with an adapter that was made for its base"
            % (in_words(layer, name), wrong)
        )
    return dict(adapter_facts(found, model), digest=layer.digest, size_bytes=layer.size_bytes)


def draft(layer: media.Layer, header: Header, name: str) -> dict[str, Any]:
    """Return the facts of a draft model, with the keys of a model.

    Args:
        layer: of the manifest.
        header: of its file.
        name: of the model that it drafts for.

    Raises:
        HeaderError: the header is not that of a model.
    """
    try:
        facts = model_facts(header)
    except HeaderError as error:
        raise HeaderError("%s cannot be read: %s" % (in_words(layer, name), error))
    about = {"name": None, "source": None, "digest": layer.digest}
    sizes = {"size_bytes": layer.size_bytes, "file_bytes": layer.size_bytes}
    unknown = dict.fromkeys(("headers", "parameters", "draft", "own_file"))
    return {**facts, **about, **sizes, **unknown, "adapters": []}
