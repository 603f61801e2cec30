# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Make the checkout importable as ansible_collections.gpufleet.ollama, wherever it lies."""

from __future__ import annotations

import pathlib
import sys
import tempfile

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
_TREE = tempfile.TemporaryDirectory(prefix="gpufleet-collections-")
_PARENT = pathlib.Path(_TREE.name) / "ansible_collections" / "gpufleet"
_PARENT.mkdir(parents=True)
(_PARENT / "ollama").symlink_to(CHECKOUT)
sys.path.insert(0, _TREE.name)
sys.path.insert(0, str(CHECKOUT))  # tests.rig
