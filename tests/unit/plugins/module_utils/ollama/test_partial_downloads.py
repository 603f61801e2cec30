# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a server that was killed had fetched is found in the file, and no record says that more is there than is."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import partial_downloads
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.partial_downloads import Part, parts_of, repair

NAME = "sha256-" + "a" * 64 + "-partial"
MIB = 1024 * 1024
DOUBTFUL = partial_downloads._DOUBTFUL_BYTES


@pytest.fixture(name="blobs")
def _blobs(tmp_path):
    (tmp_path / "blobs").mkdir()
    return tmp_path / "blobs"


def write(blobs, total, parts, records=None):
    """A download of `total` bytes with `parts` of Part, of which `completed` bytes are in the file."""
    with open(blobs / NAME, "wb") as stream:
        stream.truncate(total)
        for part in parts:
            stream.seek(part.offset)
            stream.write(b"\1" * part.completed)
    for part in parts if records is None else records:
        content = {"N": part.number, "Offset": part.offset, "Size": part.size, "Completed": part.completed}
        (blobs / ("%s-%d" % (NAME, part.number))).write_text(json.dumps(content) + "\n")


def read(blobs):
    """[(number, offset, size, completed)] of the records."""
    found = []
    for path in sorted(blobs.iterdir()):
        if path.name != NAME:
            content = json.loads(path.read_text())
            assert path.name == "%s-%d" % (NAME, content["N"])
            found.append(tuple(content[key] for key in ("N", "Offset", "Size", "Completed")))
    return sorted(found)


def test_parts_are_those_of_ollama():
    assert parts_of(5) == [Part(0, 0, 5)] and parts_of(0) == []
    assert [part.size for part in parts_of(250 * 10**6)] == [100 * 10**6, 100 * 10**6, 50 * 10**6]
    assert len(parts_of(16 * 307 * 10**6)) == 16 and len(parts_of(67 * 10**9)) == 67


def test_what_a_killed_server_had_not_written_down_is_not_fetched_again(blobs, tmp_path):
    """Of two parts one was complete; the other has 3 MiB, and its record says that it has nothing."""
    parts = [Part(0, 0, 4 * MIB, 4 * MIB), Part(1, 4 * MIB, 8 * MIB, 3 * MIB)]
    write(blobs, 12 * MIB, parts, [parts[0], Part(1, 4 * MIB, 8 * MIB, 0)])
    assert repair(str(tmp_path)) == 3 * MIB - DOUBTFUL
    assert read(blobs) == [(0, 0, 4 * MIB, 4 * MIB), (1, 4 * MIB, 8 * MIB, 3 * MIB - DOUBTFUL)]
    assert repair(str(tmp_path)) == 0


def test_a_record_never_says_more_than_the_file_has(blobs, tmp_path):
    """The end of a part may share a block with the beginning of the next one."""
    parts = [Part(0, 0, 4 * MIB + 7, 4 * MIB), Part(1, 4 * MIB + 7, 4 * MIB, 2 * MIB)]
    write(blobs, 8 * MIB + 7, parts, [Part(part.number, part.offset, part.size) for part in parts])
    repair(str(tmp_path))
    for (_number, _offset, _size, completed), part in zip(read(blobs), parts):
        assert part.completed - 2 * DOUBTFUL <= completed <= part.completed


def test_a_record_is_kept_that_knows_more_than_the_holes_say(blobs, tmp_path):
    part = Part(0, 0, 4 * MIB, MIB)
    write(blobs, 4 * MIB, [part])
    assert repair(str(tmp_path)) == 0 and read(blobs) == [(0, 0, 4 * MIB, MIB)]


@pytest.mark.parametrize(
    "broken", ["", "{", '{"N": 0}', "[]", '{"N":0,"Offset":0,"Size":-1,"Completed":0}', "9" * 5000]
)
def test_a_record_that_was_cut_is_written_again(blobs, tmp_path, broken):
    """With such a record, each later pull of the real server fails (download.go, readPart)."""
    write(blobs, 250 * 10**6, [Part(0, 0, 100 * 10**6, 2 * MIB)], parts_of(250 * 10**6))
    (blobs / (NAME + "-1")).write_text(broken)
    repair(str(tmp_path))
    assert [record[:3] for record in read(blobs)] == [
        (part.number, part.offset, part.size) for part in parts_of(250 * 10**6)
    ]
    assert read(blobs)[0][3] == 2 * MIB - DOUBTFUL and read(blobs)[1][3] == 0


def test_records_that_were_removed_already_are_written_again(blobs, tmp_path):
    """The real server removes the records before it renames the file; from the rest it would make a shorter one."""
    write(blobs, 250 * 10**6, [], parts_of(250 * 10**6)[1:])
    with open(blobs / NAME, "r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, 1)
        stream.write(b"\1" * MIB)
    repair(str(tmp_path))
    assert len(read(blobs)) == 3 and sum(record[2] for record in read(blobs)) == 250 * 10**6


def test_records_without_a_file_are_removed(blobs, tmp_path):
    (blobs / (NAME + "-0")).write_text("{")
    assert repair(str(tmp_path)) == 0 and list(blobs.iterdir()) == []
    assert repair(str(tmp_path / "none")) == 0


def test_where_the_file_system_knows_no_holes_only_records_count(blobs, tmp_path, monkeypatch):
    monkeypatch.setattr(partial_downloads, "_knows_holes", lambda blobs: False)
    write(blobs, 12 * MIB, [Part(0, 0, 12 * MIB, 3 * MIB)], [Part(0, 0, 12 * MIB)])
    assert repair(str(tmp_path)) == 0 and read(blobs) == [(0, 0, 12 * MIB, 0)]


def test_links_and_other_files_are_left_alone(blobs, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("{")
    (blobs / (NAME + "-0")).symlink_to(outside)
    (blobs / ("sha256-" + "b" * 64)).write_text("blob")
    repair(str(tmp_path))
    assert outside.read_text() == "{" and len(list(blobs.iterdir())) == 2
