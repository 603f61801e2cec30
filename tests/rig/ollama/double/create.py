# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""/api/create: a model from an existing one (which may be pulled first), or from uploaded GGUF files."""

from __future__ import annotations

import json
import os
import shutil

from . import gguf, gotext, names, pull, settings
from .errors import ApiError
from .store import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE

# Architectures for which a missing renderer and parser are filled in (server/create.go, createModel).
_RENDERERS = {
    "gemma4": "gemma4",
    "laguna": "laguna",
    "nemotron_h": "nemotron-3-nano",
    "nemotron_h_moe": "nemotron-3-nano",
    "nemotron_h_omni": "nemotron-3-nano",
}
# Keys of the config in the order in which it is written (types/model/config.go).
_CONFIG = (
    "model_format",
    "model_family",
    "model_families",
    "model_type",
    "file_type",
    "renderer",
    "parser",
    "requires",
    "draft",
    "architecture",
    "os",
)


def create(store, name, request):
    """Yield the progress objects of one creation.

    `request`: from | files, adapters, draft_files, template, system, license, parameters, messages, renderer, parser,
    requires.
    """
    if request.get("from"):
        base = names.parse(request["from"])
        if store.load(base) is None:
            yield from pull.pull(store, base, insecure=False)
        config, layers = _inherited(store, store.load(base), request)
    elif request.get("files"):
        yield {"status": "parsing GGUF"}
        config, layers = None, []
        for digest in request["files"].values():
            layers.append(_rewritten(store, digest))
            yield {"status": "verifying conversion"}
        config = _config(gguf.read(store.blob_path(layers[0]["digest"])), request)
    else:
        raise ApiError(400, "neither 'from' or 'files' was specified")
    if request.get("adapters") is not None:
        layers += _adapters(store, request["adapters"])
    _add_drafts(store, layers, request)
    request = _set_config(store, config, layers, request)
    _set_texts(store, layers, request)
    raw = (gotext.dumps(config) + "\n").encode()
    digest, _new = store.put(raw)
    for layer in layers + [{"digest": digest}]:
        store.touch(layer["digest"])
    for layer in layers:
        yield {"status": "%s %s" % (layer.pop("status"), layer["digest"])}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest, "size": len(raw)},
        "layers": layers,
    }
    yield {"status": "writing manifest"}
    before = store.load(name)
    store.write(name, (gotext.dumps(manifest) + "\n").encode())
    if before and not settings.boolean("OLLAMA_NOPRUNE"):
        store.drop_unused(before.digests())
    yield {"status": "success"}


def _layer(kind, digest, size, status):
    return {"mediaType": LAYER_TYPE + kind, "digest": digest, "size": size, "status": status}


def _inherited(store, manifest, request):
    layers = [
        dict(layer, **{"from": manifest.name.shortest, "status": "using existing layer"}) for layer in manifest.layers
    ]
    path = next(layer["digest"] for layer in layers if layer["mediaType"] == LAYER_TYPE + "model")
    inherited = json.loads(store.read(manifest.data["config"]["digest"]))
    return _config(gguf.read(store.blob_path(path)), request, inherited), layers


def _config(header, request, inherited=None):
    texts = {key: request.get(key) or (inherited or {}).get(key) for key in ("renderer", "parser", "requires")}
    return {
        "model_format": "gguf",
        "model_family": header.architecture,
        "model_families": [header.architecture],
        "model_type": gotext.human_number(header.parameter_count),
        "file_type": header.file_type,
        **{key: text for key, text in texts.items() if text},
        "architecture": "amd64",
        "os": "linux",
    }


def _adapters(store, files):
    """The layers of uploaded adapters (server/create.go, convertModelFromFiles and ggufLayers). One that does not say
    that it is an adapter becomes another model layer."""
    if not files:
        raise ApiError(400, "unknown type")
    if len(files) > 1:
        raise ApiError(400, "only one adapter is currently supported")
    layers = []
    for name, digest in files.items():
        path = store.blob_path(digest)
        try:
            kind = gguf.read(path).values.get("general.type")
        except FileNotFoundError:
            if not name.endswith(".gguf"):
                raise ApiError(400, "unknown type") from None
            raise ApiError(400, "open %s: no such file or directory" % path) from None
        except gguf.NotGguf:
            text = "supplied file was not in GGUF format" if name.endswith(".gguf") else "unknown type"
            raise ApiError(400, text) from None
        if kind == "adapter":
            layer = _layer("adapter", digest, os.path.getsize(path), "using existing layer")
            status = layer.pop("status")
            layers.append({**layer, "from": name, "status": status})
        else:
            layers.append(_rewritten(store, digest))
    return layers


def _add_drafts(store, layers, request):
    """Add the layers of draft models: uploaded GGUF files are kept as they are."""
    for _name, digest in sorted((request.get("draft_files") or {}).items()):
        try:
            gguf.read(store.blob_path(digest))
        except FileNotFoundError:
            raise ApiError(400, "open %s: no such file or directory" % store.blob_path(digest)) from None
        except gguf.NotGguf:
            raise ApiError(400, "unknown type") from None
        layers.append(_layer("draft", digest, os.path.getsize(store.blob_path(digest)), "using existing layer"))


def _set_config(store, config, layers, request):
    """Fill in renderer, parser and draft of the config; return the request with the stop that gemma4 gets."""
    renderer = _RENDERERS.get(config["model_family"])
    if renderer and not (config.get("renderer") and config.get("parser")):
        config["renderer"] = config.get("renderer") or renderer
        config["parser"] = config.get("parser") or renderer
        if renderer == "gemma4" and "stop" not in (request.get("parameters") or {}):
            request = dict(request, parameters=dict(request.get("parameters") or {}, stop=["<turn|>"]))
    for layer in layers:
        if layer["mediaType"] == LAYER_TYPE + "draft":
            header = gguf.read(store.blob_path(layer["digest"]))
            config["draft"] = {"model_format": "gguf", "architecture": header.architecture}
    ordered = {key: config[key] for key in _CONFIG if key in config}
    config.clear()
    config.update(ordered)
    return request


def _rewritten(store, digest):
    """The layer of an uploaded file.

    The real server rewrites the file. Here it is copied with 32 zero bytes added, so that its digest changes as well.
    """
    path = store.blob_path(digest)
    try:
        gguf.read(path)
    except FileNotFoundError:
        raise ApiError(500, "open %s: no such file or directory" % path) from None
    except gguf.NotGguf:
        raise ApiError(400, "supplied file was not in GGUF format") from None
    with open(path, "rb") as stream:
        data = stream.read() + b"\0" * 32
    new, fresh = store.put(data)
    shutil.copymode(path, store.blob_path(new))
    return _layer("model", new, len(data), "creating new layer" if fresh else "using existing layer")


def _add(store, layers, kind, data):
    digest, fresh = store.put(data)
    layers.append(_layer(kind, digest, len(data), "creating new layer" if fresh else "using existing layer"))


def _drop(layers, kind):
    layers[:] = [layer for layer in layers if layer["mediaType"] != LAYER_TYPE + kind]


def _set_texts(store, layers, request):
    for kind in ("template", "system"):
        if request.get(kind):
            _drop(layers, kind)
            _add(store, layers, kind, request[kind].encode())
    licenses = request.get("license") or []
    for text in [licenses] if isinstance(licenses, str) else licenses:
        _add(store, layers, "license", text.encode())
    if request.get("parameters"):
        merged = dict(request["parameters"])
        for layer in layers:
            if layer["mediaType"] == LAYER_TYPE + "params":
                for key, value in json.loads(store.read(layer["digest"])).items():
                    merged.setdefault(key, value)
        _drop(layers, "params")
        _add(store, layers, "params", (gotext.dumps(dict(sorted(merged.items()))) + "\n").encode())
    if request.get("messages"):
        _drop(layers, "messages")
        _add(store, layers, "messages", (gotext.dumps(request["messages"]) + "\n").encode())
