# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The built archive and the collection installed from it.

All integration tests use these and not the checkout.
"""

from __future__ import annotations

import pytest

from tests.integration import needed
from tests.integration.support import CHECKOUT, environment, run, tool
from tests.rig.ollama import build_archive


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """Path of the archive that 'ansible-galaxy collection build' creates from the checkout."""
    place = tmp_path_factory.mktemp("archive")
    run([tool("ansible-galaxy"), "collection", "build", "--output-path", place], cwd=CHECKOUT, env=environment())
    return next(place.glob("gpufleet-ollama-*.tar.gz"))


@pytest.fixture(scope="session")
def collections(archive, tmp_path_factory):
    """A collections path into which the archive was installed."""
    place = tmp_path_factory.mktemp("collections")
    run(
        [tool("ansible-galaxy"), "collection", "install", "--offline", "-p", place, archive],
        cwd=place,
        env=environment(collections=place),
    )
    return place


@pytest.fixture(scope="session")
def podman_hosts():
    """Skip, with the reason, if the hosts of the rig cannot run here; fail in CI."""
    needed.podman_hosts()


@pytest.fixture(scope="session")
def double_as_release(tmp_path_factory):
    """The double as an archive with the layout of a real release, for OLLAMA_ARCHIVE."""
    return build_archive.build(tmp_path_factory.mktemp("release"), as_release=True)
