# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A second user, and a directory that it can reach."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import as_user


@pytest.fixture
def nobody():
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    return as_user.account(as_user.NOBODY)


@pytest.fixture
def place():
    """A directory of this process that every user can enter: pytest's own belong to one user alone."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="gpufleet-stores-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
