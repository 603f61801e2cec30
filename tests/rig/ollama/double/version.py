# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The version that this double claims. build_archive.py writes another label here when it is asked for one."""

VERSION = "0.32.15"
