# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The device nodes of GPUs."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.host.gpu_nodes import nvidia_nodes


def test_nodes_that_are_there_and_that_should_be(tmp_path):
    (tmp_path / "dev").mkdir()
    for name in ("nvidiactl", "nvidia0", "nvidia7"):
        (tmp_path / "dev" / name).touch(mode=0o640)
        (tmp_path / "dev" / name).chmod(0o640)
    found = {node["path"]: node for node in nvidia_nodes([0, 1], str(tmp_path))}
    assert set(found) == {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia7"}
    assert found["/dev/nvidia0"]["mode"] == 0o640 and found["/dev/nvidia7"]["uid"] is not None
    assert found["/dev/nvidia1"] == {"path": "/dev/nvidia1", "mode": None, "uid": None, "gid": None}
