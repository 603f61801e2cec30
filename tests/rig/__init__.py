# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The test rig: podman hosts with real systemd, fake GPUs, an engine stand-in, a registry. See README.md."""
