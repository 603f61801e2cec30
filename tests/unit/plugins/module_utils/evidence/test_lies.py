# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Every lie of the rig, told of a large and of a small model: the rows are those of the scenario `liar`."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

from tests.rig.gpus import state
from tests.rig.gpus.build import build_nvml
from tests.unit.plugins.module_utils.evidence.builders import documented_lies

pytest.importorskip("pynvml")

CHECKOUT = pathlib.Path(__file__).resolve().parents[5]
SCENARIO = CHECKOUT / "extensions" / "molecule" / "liar" / "verify.yml"
PROGRAM = pathlib.Path(__file__).with_name("lying_host.py")


def rows():
    """The rows of the scenario."""
    (play,) = yaml.safe_load(SCENARIO.read_text())
    return next(task["loop"] for task in play["tasks"] if "lie" in str(task.get("loop", "")))


#: Lies about a model of 25 MiB on each GPU: the memory shows a context, and the utilization by process the rest.
SMALL = [
    ("off", "pass", None),
    ("one_gpu", "fail", "layers_on_cpu"),
    ("contexts_only", "fail", "layers_on_cpu"),
    ("busy_other", "fail", "layers_on_cpu"),
    ("nothing", "fail", "cpu_only"),
    ("leftover", "fail", "unplanned_process"),
    ("bytes_unknown", "pass", None),
    ("bytes_unknown_contexts_only", "fail", "layers_on_cpu"),
    ("unlisted", "unproven", "unproven"),
    ("unlisted_nothing", "fail", "cpu_only"),
]


#: Lies about an embedding model: it is loaded and asked by /api/embed.
VECTORS = [("off", "pass", None), ("not_a_number", "fail", "vector_wrong"), ("idle", "fail", "layers_on_cpu")]


class Host:
    """A lying_host.py that runs."""

    def __init__(self, directory, library, *arguments):
        (directory / "gpus").mkdir()
        environment = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(sys.path),
            LD_LIBRARY_PATH=str(library),
            GPU_RIG_STATE=str(directory / "gpus" / "state"),
        )
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(directory), *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def check(self, *lie):
        """The evidence while the rig tells a lie."""
        self.process.stdin.write(json.dumps(lie) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        """End the program, which ends its server."""
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_nvml(tmp_path_factory.mktemp("nvml")).parent


@pytest.fixture(scope="module")
def large(tmp_path_factory, library):
    host = Host(tmp_path_factory.mktemp("large"), library, "llama4:16x17b", "32768", "split")
    yield host
    host.stop()


@pytest.fixture(scope="module")
def small(tmp_path_factory, library):
    host = Host(tmp_path_factory.mktemp("small"), library, "tiny:latest", "2048", "spread")
    yield host
    host.stop()


@pytest.fixture(scope="module")
def vectors(tmp_path_factory, library):
    host = Host(tmp_path_factory.mktemp("vectors"), library, "vectors:latest", "2048", "single")
    yield host
    host.stop()


def test_the_scenario_tells_every_lie_that_the_rig_knows():
    assert {row["lie"] for row in rows()} == {*state.LIES, *state.ANSWER_LIES, *state.BLIND, "off"}


@pytest.mark.parametrize("row", rows(), ids=lambda row: "%s%s" % (row["lie"], row.get("factor", "")))
def test_a_lie_about_a_large_model(large, row):
    evidence = large.check(row["lie"], row.get("factor"))
    verdict = row.get("verdict", "fail" if "finding" in row else "pass")
    assert evidence["verdict"] == verdict, evidence["diagnosis"]
    assert [entry["finding"] for entry in evidence["diagnosis"]][:1] == ([row["finding"]] if "finding" in row else [])
    assert row.get("remedy", "") in " ".join(entry["remedy"] for entry in evidence["diagnosis"])
    if "finding" in row:
        check, finding = documented_lies()[row["lie"]]
        assert finding == row["finding"]
        (instance,) = evidence["instances"]
        checks = instance["checks"] + instance["models"][0]["checks"]
        not_passed = [one["name"].partition(" ")[0] for one in checks if not one["passed"] and one["required"]]
        assert check in not_passed


@pytest.mark.parametrize("lie, verdict, finding", SMALL, ids=[row[0] for row in SMALL])
def test_a_lie_about_a_small_model(small, lie, verdict, finding):
    evidence = small.check(lie)
    assert evidence["verdict"] == verdict, evidence["diagnosis"]
    assert [entry["finding"] for entry in evidence["diagnosis"]][:1] == ([finding] if finding else [])


@pytest.mark.parametrize("lie, verdict, finding", VECTORS, ids=[row[0] for row in VECTORS])
def test_a_lie_about_an_embedding_model(vectors, lie, verdict, finding):
    evidence = vectors.check(lie)
    assert evidence["verdict"] == verdict, evidence["diagnosis"]
    assert [entry["finding"] for entry in evidence["diagnosis"]][:1] == ([finding] if finding else [])
    checks = {one["name"]: one for one in evidence["instances"][0]["models"][0]["checks"]}
    assert "does not support generate" in checks["generation"]["observed"]
    assert checks["answer"]["passed"] is (finding != "vector_wrong")
