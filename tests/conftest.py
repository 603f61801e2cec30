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

# Fast things first: a typing error should not wait for the hosts, nor one of ansible-test for the scenarios.
_ORDER = (
    "unit/",
    "oracle/",
    "integration/test_archive",
    "integration/test_docs",
    "integration/test_lint",
    "integration/test_importer",
    "integration/test_gpu_lane",
    "integration/test_sanity",
    "integration/test_rig_hosts",
    "integration/test_acceptance_refusals",
    "integration/test_acceptance_environment",
    "integration/test_acceptance_plan",
    "integration/test_acceptance_moved",
    "integration/test_faults",
    "integration/test_cores",
    "integration/test_protections",
    "integration/test_acceptance_kill",
    "integration/test_scenarios",
    "integration/test_real",
)


def pytest_collection_modifyitems(items):
    """Order the session by _ORDER; files that it does not name come before the hosts."""

    def place(item):
        path = item.path.relative_to(CHECKOUT / "tests").as_posix()
        return next(
            (number for number, start in enumerate(_ORDER) if path.startswith(start)),
            _ORDER.index("integration/test_sanity"),
        )

    items.sort(key=place)
