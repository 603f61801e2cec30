# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What says that a file is the role's. Pure."""

from __future__ import annotations

#: First line of every file that the role writes and that can hold a comment.
MANAGED = "# Managed by Ansible: the next run of the role ollama_multigpu replaces changes.\n"
