# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The version that this double reports. build_archive.py writes another version here if one is given."""

VERSION = "0.32.15"
