# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The version that this double reports, and how it fails. build_archive.py writes others here if some are given.

Faults, for tests of what becomes of a release that fails:

    does-not-start      `serve` ends at once. `--version` works, as for most other faults.
    answers-500         Every request gets status 500.
    loads-onto-the-cpu  The engine sees no GPU.
    engine-dies         The engine is killed in its first generation.
    engine-dies-after-SECONDS
                        Each engine is killed so many seconds after it was loaded.
    wrong-version       /api/version says another version.
    wrong-version-text  `--version` says another version.
    broken-archive      The archive ends in its middle; its checksum is that of what is there.
    half-speed          Generating takes twice as long, by the figures of the answer.
"""

VERSION, FAULT = "0.32.15", ""
