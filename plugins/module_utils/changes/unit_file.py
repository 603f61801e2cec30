# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Text of the systemd template unit ollama@.service, which runs every instance. Pure."""

from __future__ import annotations

from ..common import paths
from ..common.hardening import HARDENING

#: First line of every file that the role writes and that can hold a comment.
MANAGED = "# Managed by Ansible: the next run of the role ollama_multigpu replaces changes.\n"
_TEXT = """\
[Unit]
Description=Ollama on the GPUs of %i
Documentation=https://github.com/gpufleet/ollama
Wants=network-online.target @gpus@ @ready@
After=network-online.target nvidia-persistenced.service @gpus@

[Service]
Type=exec
User=@user@
Group=@user@
# Ollama's key and the driver's cache lie in the home. No other place on the host can be written by the service.
Environment=HOME=@stores@/%i
EnvironmentFile=@environment@/%i.env
ExecStart=@program@ serve
Restart=always
RestartSec=3
# The engine is a child that holds the GPUs' memory: it must not outlive the server.
KillMode=control-group
TimeoutStopSec=60
UMask=0027

# The GPUs stay reachable: no PrivateDevices, and no setting that implies DeviceAllow (ProtectClock). /dev/shm stays
# writable.
@hardening@
ReadWritePaths=@stores@/%i
LimitMEMLOCK=infinity

[Install]
WantedBy=multi-user.target
"""


def unit_text(models_dir: str) -> str:
    """Return the text of ollama@.service for instances whose stores are below a models directory."""
    text = MANAGED + _TEXT
    for name, value in (
        ("hardening", HARDENING.rstrip("\n")),
        ("user", paths.USER),
        ("gpus", paths.GPUS_UNIT),
        ("ready", paths.ready_unit("%i")),
        ("environment", paths.ENVIRONMENT_DIRECTORY),
        ("program", paths.server("%i")),
        ("stores", paths.stores(models_dir)),
    ):
        text = text.replace("@%s@" % name, value)
    return text
