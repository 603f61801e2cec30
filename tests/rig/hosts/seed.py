# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Seeding: put a model of real size as a sparse file into the store of a host, without transferring its weights."""

from __future__ import annotations

import shlex
import subprocess
import tempfile

from tests.rig.hosts.podman import wrapper
from tests.rig.models import catalog, store
from tests.rig.settings import RigError


def seed(
    container: str,
    model: str,
    directory: str,
    registry: str | None = None,
    manifest: bool = True,
    owner: str | None = None,
) -> str:
    """Put a model of the rig into the models directory of a host; return a message about it.

    `registry` is the host part of the model's name ("registry.ollama.ai" by default, or "address:port"). Without the
    manifest, only the blobs are written: a pull then fetches the manifest and finds all blobs. `owner` is a user of the
    host, which is made as Ollama's installer makes it where the host does not have it; None = root.
    """
    try:
        name = catalog.full_name(model)
    except KeyError as error:
        raise RigError(f"The model {model} cannot be seeded: {error.args[0]}.") from error
    if not directory.startswith("/"):
        raise RigError(f"'{directory}' is no store: give the absolute path of a models directory on the host.")
    place = shlex.quote(directory)
    script = f"mkdir -p {place} && tar -x -S -C {place} --no-same-owner"
    if owner:
        user = shlex.quote(owner)
        script = f"(id {user} || useradd -r -s /bin/false -U -m -d /usr/share/{user} {user}) >&2 && {script}"
        script += f" && chown -R {user}: {place}"
    with tempfile.TemporaryDirectory(prefix="gpufleet-seed-") as scratch:
        store.write_into_store(name, scratch, registry=registry or store.DEFAULT_REGISTRY)
        packed = subprocess.Popen(
            ["tar", "-c", "-S", "--mode=u=rwX,go=rX", "-C", scratch, "blobs", *(["manifests"] if manifest else [])],
            stdout=subprocess.PIPE,
        )
        done = subprocess.run(
            [str(wrapper()), "exec", "-i", container, "sh", "-c", script],
            stdin=packed.stdout,
            capture_output=True,
            check=False,
        )
        packed.stdout.close()
        if packed.wait() or done.returncode:
            reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
            raise RigError(f"The model {name} could not be seeded into {directory}: {reason[-1]}")
    blob = store.blobs(name)[1]
    kind = "sparse, a header and no weights, never hashed" if store.is_sparse(name) else "real data"
    without = "" if manifest else ", without its manifest"
    return f"Seeded {name} into {directory}: model blob {blob.digest[:19]}, {blob.size:,} bytes ({kind}){without}."
