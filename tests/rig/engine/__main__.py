# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Entry point: `python -m tests.rig.engine ...`, and lib/ollama/llama-server in the zipapp."""

from __future__ import annotations

import os
import sys

from tests.rig.engine import program

if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    status = program.main(sys.argv[1:], os.environ)
    sys.stdout.flush()
    os._exit(status)  # no waiting for the server's threads
