# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The importer of Galaxy accepts the archive."""

from __future__ import annotations

import sys

from tests.integration.support import environment, run

CONFIG = """[galaxy-importer]
CHECK_REQUIRED_TAGS = True
RUN_ANSIBLE_DOC = True
RUN_ANSIBLE_LINT = False
RUN_FLAKE8 = False
LOG_LEVEL_MAIN = INFO
"""


def test_importer_takes_the_archive(archive, tmp_path):
    config = tmp_path / "galaxy-importer.cfg"
    config.write_text(CONFIG, encoding="ascii")
    env = environment(HOME=str(tmp_path), GALAXY_IMPORTER_CONFIG=str(config))
    output = run([sys.executable, "-m", "galaxy_importer.main", archive], cwd=tmp_path, env=env)
    assert "Importer processing completed successfully" in output
    assert "ERROR" not in output
    # ansible-lint is a test of its own; anything else that the importer warns of is a defect.
    assert not [line for line in output.splitlines() if line.startswith("WARNING") and "ansible-lint" not in line]
