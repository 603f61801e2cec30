# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The grammar of Modelfiles, held to a state machine of the release's rules and to what its own parser said."""

from __future__ import annotations

import base64
import json
import pathlib
import struct

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import modelfile, modelfile_parser, parameters
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.ollama import release_modelfile

RECORDING = pathlib.Path(__file__).resolve().parents[4] / "fixtures" / "recordings" / "ollama-0.32.15-modelfiles.jsonl"
with open(RECORDING, encoding="utf-8") as lines:
    RECORDED = [dict(entry, raw=base64.b64decode(entry["file"])) for entry in map(json.loads, lines)]


def of_product(raw):
    """The commands as the product reads them; None where it refuses the file."""
    try:
        found = modelfile_parser.commands(raw.decode("utf-8", "surrogateescape"))
    except modelfile.ModelfileError:
        return None
    return [[command.name, command.value] for command in found]


def of_rules(raw):
    """The commands as the state machine of the rules reads them; None where it refuses the file."""
    try:
        return [list(command) for command in release_modelfile.parse_file(raw)]
    except release_modelfile.Refused:
        return None


def sent_by_product(raw):
    """What the product sends, in the form of a recording; None where it refuses the file."""
    try:
        request = modelfile.parse(raw.decode("utf-8", "surrogateescape"))
    except (modelfile.ModelfileError, parameters.InvalidParameter):
        return None
    sent = modelfile.create_payload("", request)
    return {key: single(value) for key, value in sent.items() if value}


def sent_by_rules(raw):
    """What the state machine of the rules sends; None where it refuses the file."""
    try:
        sent = release_modelfile.create_request(release_modelfile.parse_file(raw))
    except release_modelfile.Refused:
        return None
    return {key: single(value) for key, value in sent.items()}


def single(value):
    """Fractions as float32, which Ollama keeps them in."""
    if not isinstance(value, dict):
        return value
    return {
        name: struct.unpack("<f", struct.pack("<f", number))[0] if isinstance(number, float) else number
        for name, number in value.items()
    }


def is_comparable(raw):
    """Whether what is sent can be compared: files on the host, and models that are files, have rules of their own."""
    commands = of_rules(raw) or []
    return not any(
        name in ("adapter", "draft") or (name == "model" and (not value or modelfile.is_file(value)))
        for name, value in commands
    )


def test_there_are_many_files_of_each_kind():
    kinds = [[entry for entry in RECORDED if key in entry] for key in ("refused", "create", "create_refused")]
    assert [len(kind) > 150 for kind in kinds] == [True] * 3 and len(RECORDED) > 3000


def test_the_rules_are_those_of_the_release():
    wrong = [entry["raw"] for entry in RECORDED if of_rules(entry["raw"]) != entry.get("commands")]
    assert wrong == []
    for entry in RECORDED:
        if "commands" in entry and is_comparable(entry["raw"]):
            sent = {key: value for key, value in (entry.get("create") or {}).items() if value}
            if "parameters" in sent:  # Go writes 1.0 as 1
                for name in set(sent["parameters"]) & set(parameters.TYPES):
                    if parameters.TYPES[name] == parameters.NUMBER:
                        sent["parameters"][name] = float(sent["parameters"][name])
                sent["parameters"] = single(sent["parameters"])
            assert (sent or None) == sent_by_rules(entry["raw"]), entry


def test_the_product_reads_what_the_rules_read():
    wrong = [entry["raw"] for entry in RECORDED if of_product(entry["raw"]) != of_rules(entry["raw"])]
    assert wrong == []


def test_the_product_sends_what_the_rules_send():
    files = [entry["raw"] for entry in RECORDED if is_comparable(entry["raw"])]
    wrong = [raw for raw in files if sent_by_product(raw) != sent_by_rules(raw)]
    assert wrong == [] and len(files) > 3000


_PIECES = st.sampled_from(
    ["FROM", "from ", "FROM x\n", "SYSTEM", "PARAMETER ", "MESSAGE ", "REQUIRES ", "LICENSE\t", "stop ", "num_ctx "]
    + [
        "temperature ",
        "user ",
        "1",
        ".5",
        "e3",
        "0x",
        "v",
        "true",
        '"',
        '"""',
        " ",
        "\t",
        "\n",
        "\r\n",
        "\r",
        "#",
        "\u200b",
    ]
)


@settings(max_examples=400)
@given(st.lists(st.one_of(_PIECES, st.text(max_size=3)), max_size=14).map(lambda parts: "FROM x\n" + "".join(parts)))
def test_any_text_is_read_by_the_rules(text):
    raw = text.encode("utf-8", "surrogatepass")
    assert of_product(raw) == of_rules(raw)
    if is_comparable(raw):
        assert sent_by_product(raw) == sent_by_rules(raw)


@settings(max_examples=200)
@given(st.binary(max_size=12), st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"]))
def test_any_bytes_are_read_by_the_rules(tail, mark):
    head = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(mark, "utf-8")
    raw = mark + "FROM x\nSYSTEM ".encode(head) + tail
    assert of_product(raw) == of_rules(raw)


@pytest.mark.parametrize("text", ["FROM ", 'FROM ""', "FROM x\nFROM \n", "FROM \nFROM x"])
def test_the_directory_of_a_modelfile_is_no_model(text):
    assert sent_by_product(text.encode()) is None and sent_by_rules(text.encode()) is None


def test_a_character_that_no_file_has_is_replaced():
    assert modelfile.parse("FROM x\nSYSTEM a\ud800b")["system"] == "a\ufffd\ufffd\ufffdb"


@pytest.mark.parametrize(
    "text, words",
    [
        ("FROM x\nFRMO y", "line 2 of the Modelfile begins with 'FRMO', .*; did you mean FROM"),
        ("FROM x\r\n\r\nRENDER y", "line 3 .* did you mean RENDERER"),
        ("FROM x\n\u0151 y", r"line 2 of the Modelfile begins with '\\u0151'"),
        ("FROM x\nFROM", "line 2 of the Modelfile needs a blank and a value after 'FROM', not the end of the line"),
        ("FROM x\nPARAMETER num_ctx=1", "line 2 .* needs a blank and a value after 'num_ctx', not '='"),
        ("FROM x\nMESSAGE  user y", "line 2 .* a message of '', which is not one of system, user, assistant"),
        ('FROM x\n\nSYSTEM """a\nb', 'the value that begins in line 3 .* is not closed with """'),
        ("# nothing", "no FROM line"),
    ],
)
def test_a_refusal_names_the_line_and_what_is_wrong(text, words):
    with pytest.raises(modelfile.ModelfileError, match=words):
        modelfile_parser.commands(text)


def test_a_long_quoted_value_is_read_in_a_moment():
    licence = '"quoted" text\n' * 50000
    assert modelfile_parser.commands('FROM x\nLICENSE """%s"""' % licence)[1].value == licence
