# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The version that this double reports, and how it fails. build_archive.py writes others here if some are given.

Faults, for tests of what becomes of a release that fails:

    does-not-start      `serve` ends at once. `--version` works, as for every other fault.
    answers-500         Every request gets status 500.
    loads-onto-the-cpu  The engine sees no GPU.
    engine-dies         The engine is killed in its first generation.
    wrong-version       /api/version says another version.
    half-speed          Generating takes twice as long, by the figures of the answer.
"""

VERSION, FAULT = "0.32.15", ""
