# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the double of Ollama tells its engine of adapters, drafts and heads (llm/llama_server.go of 0.32.15)."""

from __future__ import annotations

import types

import pytest

from tests.rig.models import catalog, gguf
from tests.rig.ollama.double import engine, models


def model(tmp_path, pairs=(), tensors=(), draft=None, adapters=()):
    """A Model of the double over a file of its own."""
    made = models.Model.__new__(models.Model)
    made.path, made.draft, made.adapters, made.projectors = str(tmp_path / "model"), None, list(adapters), []
    write(made.path, dict(catalog.pairs_of("tiny"), **dict(pairs)), [*catalog.tensors_of("tiny"), *tensors])
    if draft:
        made.draft = str(tmp_path / "draft")
        write(made.draft, {"general.architecture": draft}, [])
    return made


def write(path, pairs, tensors):
    head, size = gguf.header(pairs, tensors)
    with open(path, "wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + size)


HEADS = {"llama.nextn_predict_layers": 1}
OLDER = ("mtp.fc.weight", "F32", (4, 4))
QWEN = {"general.architecture": "qwen35"}


@pytest.mark.parametrize(
    "made, options, told",
    [
        ({}, {"draft_num_predict": 4}, []),
        ({"pairs": HEADS}, {}, []),
        ({"pairs": HEADS}, {"draft_num_predict": 0}, []),
        ({"pairs": HEADS}, {"draft_num_predict": 3}, ["draft-mtp", "3", "--spec-draft-backend-sampling"]),
        (
            {"pairs": QWEN, "tensors": [OLDER]},
            {"draft_num_predict": 2},
            ["draft-mtp", "2", "--spec-draft-backend-sampling"],
        ),
        ({"tensors": [OLDER]}, {"draft_num_predict": 2}, []),
        ({"draft": "qwen3"}, {}, ["draft-mtp", "4", "--spec-draft-backend-sampling", "--spec-draft-model", "draft"]),
        ({"draft": "dflash"}, {"draft_num_predict": 8}, ["draft-dflash", "8", "--spec-draft-model", "draft"]),
        ({"draft": "dflash"}, {"draft_num_predict": -1}, []),
    ],
)
def test_speculation(tmp_path, made, options, told):
    found = [
        argument.replace(str(tmp_path) + "/", "")
        for argument in engine.draft_arguments(model(tmp_path, **made), options)
    ]
    assert found == (["--spec-type", told[0], "--spec-draft-n-max", *told[1:]] if told else [])


def test_where_they_are_in_the_command(tmp_path):
    choice = types.SimpleNamespace(context=4096, parallel=1, batch=512, flash_attention="auto", main_gpu=None, gpus=())
    made = model(tmp_path, pairs=HEADS, adapters=["/a", "/b"])
    command = engine.arguments(made, choice, {"draft_num_predict": 3, "num_gpu": 999}, 1, "mmap")
    first = command.index("--spec-type")
    assert command[first - 2 : first] == ["--chat-template", "chatml"]
    assert command[first + 5 : first + 11] == ["--lora", "/a", "--lora", "/b", "--load-mode", "mmap"]
