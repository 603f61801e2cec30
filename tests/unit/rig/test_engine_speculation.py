# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Adapters, drafts and heads in the engine stand-in."""

from __future__ import annotations

import pytest

from tests.rig.gpus import state
from tests.rig.models import catalog, gguf
from tests.unit.rig import engine_process
from tests.unit.rig.adapter_files import write_adapter

models, program, rig = engine_process.models, engine_process.program, engine_process.rig
serving, refused = engine_process.serving, engine_process.refused
MIB = 1024 * 1024


def test_adapters_are_on_the_gpus_and_in_the_log(program, rig, models, tmp_path):
    tiny, before = models["tiny:latest"], None
    parts = {"a": ("attn_k.",), "b": ("ffn_", "attn")}
    paths = [write_adapter(tmp_path / name, "tiny", 64, parts[name]) for name in parts]
    more = [argument for path in paths for argument in ("--lora", path)]
    for arguments in ([], more):
        with serving(program, tiny, "-c", "2048", "-np", "1", "-b", "512", "-ub", "512", *arguments) as engine:
            held, log = engine.holds(), engine.log
        if before is None:
            before = held
    grown = sum(map(sum, held)) - sum(map(sum, before))
    logged = [float(line.split()[-2]) for line in log if "LoRA buffer size" in line]
    assert len(logged) == 4 and grown / MIB == pytest.approx(sum(logged), abs=0.05) and grown > MIB
    assert "loading lora adapter from '%s' ..." % paths[1] in "\n".join(log)
    assert [line for line in log if "compute buffer size" in line][-3:] == [
        line for line in log if "compute buffer size" in line
    ][:3]
    assert "failed to load lora adapter '/none'" in refused(program, tiny, "-c", "2048", "--lora", "/none")


@pytest.mark.parametrize("outside", [False, True])
def test_proposing_tokens_without_heads_is_refused_in_the_engine_s_words(program, rig, models, outside):
    # Lines of llama-server of build 11669 with the rig's own models.
    tiny = models["tiny:latest"]
    more = ["--spec-draft-model", tiny] if outside else []
    spec = ["--spec-type", "draft-mtp", "--spec-draft-n-max", "4", "--spec-draft-backend-sampling"]
    log = refused(program, tiny, "-c", "2048", *spec, *more).splitlines()
    first = "loading draft model" if outside else "creating MTP draft context against the target model"
    last = [
        "common_speculative_init_result: %s '%s'" % (first, tiny),
        "llama_init_from_model: context type MTP requested but model doesn't contain MTP layers",
        "common_speculative_init_result: failed to create MTP context",
        "srv    load_model: failed to create MTP context",
        "srv    operator(): operator(): cleaning up before exit...",
        "srv  llama_server: exiting due to model loading error",
    ]
    assert log[-len(last) :] == last
    assert any("failed to measure the memory of the extra model, fitting without it" in line for line in log)
    assert any("compute buffer size" in line for line in log)


def test_heads_without_a_recorded_row_name_the_command_that_records_it(program, rig, models, tmp_path):
    pairs = dict(catalog.pairs_of("tiny"), **{"llama.nextn_predict_layers": 1})
    head, size = gguf.header(pairs, catalog.tensors_of("tiny"))
    with open(tmp_path / "heads", "wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + size)
    log = refused(program, str(tmp_path / "heads"), "-c", "2048", "--spec-type", "draft-mtp")
    assert "no recorded engine row for --spec-type draft-mtp" in log and "python -m tests.oracle.record rig" in log


@pytest.mark.parametrize(
    "base,draft,row",
    # MiB of llama-server of build 11669 at 8192 tokens in batches of 512 (speculation-rows.json).
    [("small", "heads", (119 + 64 + 26) + (51 + 8 + 14)), ("heads", None, (51 + 8 + 15) + (8 + 14))],
)
def test_what_proposes_tokens_is_on_the_gpus_and_in_the_log(program, rig, models, base, draft, row):
    more = ["--spec-draft-model", models[draft + ":latest"]] if draft else []
    spec = ["--spec-type", "draft-mtp", "--spec-draft-n-max", "4", "--spec-draft-backend-sampling"]
    state.main(["set", "gpu0.context", "0"])
    load = ["-c", "8192", "-np", "1", "-b", "512", "-ub", "512", "--split-mode", "none", "-ngl", "999"]
    with serving(program, models[base + ":latest"], *load, *spec, *more) as engine:
        held, log = engine.holds(), engine.log
    assert sum(map(sum, held)) / MIB == row
    text = "\n".join(log)
    assert "getting device memory data for the extra model at a context size of 8192:" in text
    assert text.count("load_tensors: offloaded") == (2 if draft else 1)
    assert text.count("llama_context: constructing llama_context") == 2
