# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""One HTTP server: releases of Ollama, and a model registry with faults on request and a log of what was served."""
