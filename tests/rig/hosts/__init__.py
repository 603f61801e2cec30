# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Hosts: a Debian image with systemd, containers made from it, their inventory, and changes of their files."""
