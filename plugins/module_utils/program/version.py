# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The version of the collection, for the program of the host. Pure."""

from __future__ import annotations

#: As in galaxy.yml.
VERSION = "1.0.0"
