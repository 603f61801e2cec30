# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Archives of releases for tests, with members as hostile as they need."""

from __future__ import annotations

import io
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

import pytest

PROGRAM = "#!/bin/sh\necho 'Warning: could not connect'\necho 'Warning: client version is %s'\n"


def member(name, data=b"", mode=0o644, **attributes):
    """(TarInfo, content)"""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    for key, value in attributes.items():
        setattr(entry, key, value)
    return entry, data


def link(name, target, kind=tarfile.SYMTYPE):
    return member(name, type=kind, linkname=target, mode=0o777)


def directory(name, mode=0o755):
    return member(name, type=tarfile.DIRTYPE, mode=mode)


def tar(members, form=tarfile.GNU_FORMAT):
    """Bytes of a tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for entry, data in members:
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def pack(path, content):
    """Write bytes, or members, as a .tar.zst."""
    data = content if isinstance(content, bytes) else tar(content)
    packed = subprocess.run(["zstd", "-q", "-1", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    pathlib.Path(path).write_bytes(packed)
    return str(path)


def release(version="0.32.15", text=None):
    """Members of an archive like Ollama's."""
    return [
        directory("./"),
        directory("./bin/"),
        member("./bin/ollama", (text or PROGRAM % version).encode(), 0o755, uid=1000, gid=1000, uname="builder"),
        member("lib/ollama/cuda_v12/libcublas.so.12.8", b"library", 0o775),
        link("lib/ollama/cuda_v12/libcublas.so.12", "./libcublas.so.12.8"),
        link("lib/ollama/mlx_cuda/libcublas.so.12", "../cuda_v12/libcublas.so.12"),
        link("lib/ollama/copy.so", "lib/ollama/cuda_v12/libcublas.so.12.8", tarfile.LNKTYPE),
        member("lib/ollama/notes", b"text", 0o600),
    ]


@pytest.fixture
def place():
    """A directory that every user can enter, as the directory of the releases is."""
    found = pathlib.Path(tempfile.mkdtemp(prefix="releases-"))
    found.chmod(0o755)
    yield found
    shutil.rmtree(found)
