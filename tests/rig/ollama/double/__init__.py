# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A double of `ollama serve` for hosts without the real binary. It reports the version in version.py."""
