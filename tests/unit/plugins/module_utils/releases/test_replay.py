# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The replayer: recordings under other names, rows that cannot be compared, files that are no recordings."""

from __future__ import annotations

import json

import pytest

from tests.oracle import before_0_30 as recorded
from tests.oracle import fits, models, replay
from tests.unit.plugins.module_utils.releases.loads import recorded_rows

FIRST_ROWS = (
    "era-A.jsonl",
    "era-D.jsonl",
    "ollama-0.32.15-placement.jsonl",
    "ollama-0.32.15-residents.jsonl",
    "engine-fit.jsonl",
)


def first_lines(name, count=3):
    return [json.loads(line) for line in (models.RECORDINGS / name).read_text().splitlines()[:count]]


def written(folder, rows, name="other name.txt"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", FIRST_ROWS)
def test_a_recording_is_known_by_its_rows_whatever_its_name(name, tmp_path, capsys):
    path = written(tmp_path, first_lines(name))
    count = len(replay.rows_of(path)[0])
    assert replay.main([str(path)]) == 0
    assert capsys.readouterr().out == "other name.txt: equal %d of %d\n" % (count, count)
    assert count >= 3


def test_documents_and_tables_with_a_first_line_of_their_own_are_known_too(tmp_path):
    document = json.loads((models.RECORDINGS / "engine-rows.json").read_text())
    for text in (
        json.dumps(dict(document, rows=document["rows"][:3])),
        json.dumps(dict(document, rows=document["rows"][:3]), indent=1),
    ):
        (tmp_path / "a.json").write_text(text)
        assert replay.replay(tmp_path / "a.json") == (3, [])
    for table in (fits.TABLE, fits.TABLE.with_name("engine-table.jsonl")):
        lines = table.read_text().splitlines()[:4]
        (tmp_path / "b").write_text("\n".join(lines))
        assert replay.replay(tmp_path / "b") == (3, [])


def test_a_row_of_an_unknown_model_differs_and_says_so(tmp_path, capsys):
    rows = first_lines("era-A.jsonl")
    rows[1]["case"]["model"] = "nobody-7b"
    assert replay.main([str(written(tmp_path, rows))]) == 1
    said = capsys.readouterr().out
    assert "equal 2 of 3" in said
    assert (
        "row 2\n" in said
        and "its model nobody-7b is not in the tables of models, and no era-models.json lies beside the file" in said
    )
    rows = first_lines("engine-fit.jsonl")
    rows[2]["model"] = "nobody-7b"
    assert replay.main([str(written(tmp_path, rows))]) == 1
    assert "its model nobody-7b is not in the tables of models\n" in capsys.readouterr().out


def test_a_row_without_an_entry_differs_and_says_so(tmp_path, capsys):
    rows = first_lines("ollama-0.32.15-placement.jsonl")
    del rows[0]["environment"]
    assert replay.main([str(written(tmp_path, rows))]) == 1
    said = capsys.readouterr().out
    assert "equal 2 of 3" in said and "it has no entry 'environment'" in said


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "holds no rows"),
        ("no json", "is not JSON"),
        ('{"a": 1}\n', "is not a recording"),
        ("[1]\n", "holds no rows"),
    ],
)
def test_what_is_no_recording_is_said_in_one_sentence_and_the_next_file_is_replayed(text, reason, tmp_path, capsys):
    (tmp_path / "x").write_text(text)
    good = written(tmp_path, first_lines("era-B.jsonl"))
    assert replay.main([str(tmp_path / "x"), str(tmp_path / "missing"), str(good)]) == 2
    said = capsys.readouterr().out
    assert reason in said and "missing: equal 0 of 0" in said
    assert "other name.txt: equal 3 of 3" in said


@pytest.mark.parametrize("part", "ABCD")
def test_the_replayer_notices_one_layer_more_and_one_byte_less_free(part, tmp_path):
    row = next(row for row in recorded_rows(part) if len(row["result"].get("final", {}).get("split") or []) > 1)
    changed = json.loads(json.dumps(row))
    changed["result"]["final"]["split"][0] += 1
    other = json.loads(json.dumps(row))
    for gpu in other["case"]["gpus"]:
        gpu["free"] = gpu["min_memory"]
    path = tmp_path / ("era-%s.jsonl" % part)
    path.write_text("".join(json.dumps(one) + "\n" for one in (row, changed, other)))
    assert [number for number, dummy, dummy_got in replay.replay(path)[1]] == [2, 3]


def test_a_table_of_models_beside_the_file_wins(tmp_path):
    row = next(
        row
        for row in recorded_rows("A")
        if row["case"]["model"] == "llama3.1-8b" and row["result"].get("estimate", {}).get("layers")
    )
    (tmp_path / "era-A.jsonl").write_text(json.dumps(row) + "\n")
    table = json.loads((recorded.RECORDINGS / recorded.MODELS).read_text())
    table["models"]["llama3.1-8b"]["block_bytes"] = [1] * 32
    (tmp_path / recorded.MODELS).write_text(json.dumps(table))
    assert len(replay.replay(tmp_path / "era-A.jsonl")[1]) == 1
