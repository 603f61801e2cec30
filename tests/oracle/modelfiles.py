# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Record what Ollama's own parser makes of constructed Modelfiles.

    python -m tests.oracle.modelfiles DIRECTORY

DIRECTORY is a checkout of Ollama at v0.32.15 (its packages api, auth, envconfig, format, logutil, parser, types and
version are enough); Go builds modelfiles.go in it. The result is ollama-0.32.15-modelfiles.jsonl in
tests/fixtures/recordings, one object per file: `file` (base64), `commands` (name and value) or `refused`, and what is
sent to /api/create (`create`) or `create_refused`.
"""

from __future__ import annotations

import base64
import itertools
import json
import pathlib
import random
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
RECORDING = HERE.parent / "fixtures" / "recordings" / "ollama-0.32.15-modelfiles.jsonl"

_INTEGERS = "0 1 -1 +1 00 007 1_0 0x10 1e3 4096.0 9223372036854775807 9223372036854775808 -9223372036854775808 - \uff11"
_FRACTIONS = (
    "0 1 -1 +0.5 .5 5. . 1e3 1E-3 1e 1e+ 1_0.5 1__0 _1 1_ 1_.5 1._5 1e1_0 1e+_1 1_e1 0_1 0x1p-2 0x1 0x_1p1 0x1.8P1 "
    "0x.8p0 0x.p1 0x1_p1 0xfp1 0b1 inf +Infinity nan 1e39 1e-50 3.4028235e38 3.4028236e38 0.1 0.123456789 16777217 "
    "123456789 1.4e-45 -0 0,5 1f"
)
_BOOLEANS = "1 0 t f T F true false TRUE FALSE True False tRue yes no on off 01 2 -1"
_UNPRINTABLE = (
    "\x00",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x85",
    "\xa0",
    "\xad",
    "\u200b",
    "\u200d",
    "\u2028",
    "\u3000",
    "\ufeff",
)
_VERSIONS = (
    "0.14.0 v0.14.0 vv0.14.0 0.14 1 1. 1.2.3.4 01.2.3 1.2.3-rc1 1.2.3-01 1.2.3-0a 1.2.3-rc.1+b.01 1.2.3+ 1.2.3- "
    "1.2-rc1 latest 1.2.3+a_b -1.0.0 1.2.3--"
)


def _of_commands():
    """Yield files that differ in the commands and what separates them."""
    for command in (
        "FROM PARAMETER TEMPLATE SYSTEM ADAPTER LICENSE MESSAGE RENDERER PARSER REQUIRES DRAFT "
        "FRMO EMBED MODEL NUM_CTX FROM: 5FROM"
    ).split():
        for word in dict.fromkeys((command, command.lower(), command.title())):
            yield "FROM x\n%s" % word
            yield "FROM x\n%s \n" % word
            yield "FROM x\n%s v" % word
            yield "FROM x\n%s\tuser\tv" % word
            yield "FROM x\n%s  user v\n" % word
    yield from ("", "\n", " ", "#", "FROM", "FROM ", "FROM x", "from\tx", " FROM x", "\tFROM x\t", "FROM x\n\n\nFROM y")
    yield from ("FROM x # y", "FROM x#y", "#FROM x", " # c\nFROM x", "#\rFROM x", "FROM x\n#", "# \xe9\nFROM x\n# end")
    yield from ("FROM x\rSYSTEM y", "FROM x\r\nSYSTEM y\r\n", "FROM x\n\rSYSTEM y", "FROM x\x0bSYSTEM y", "FROM x\x85y")
    yield from ("FROM x\u2028SYSTEM y", "FROM x\x0cSYSTEM y", "SYSTEM y", "SYSTEM FROM x", "FROM ./x.gguf", "FROM x y")
    for character in _UNPRINTABLE:
        yield character + "FROM x"
        yield "FROM%sx" % character
        yield "FROM x\nSYSTEM a%sb%s" % (character, character)
        yield 'FROM x\nSYSTEM """%sa\n%sb"""%s' % (character, character, character)


def _of_values():
    """Yield files that differ in quotes and ends of lines."""
    pieces = ('"', '"""', '""', "a", " ", "\n", "")
    for parts in itertools.product(pieces, repeat=4):
        yield "FROM x\nSYSTEM %s" % "".join(parts)
    for end in ("\n", "\r", "\r\n", " \n", "\t\r"):
        for quote in ('"', '"""'):
            yield "FROM x\nTEMPLATE %sa%sb %s%sSYSTEM s%s" % (quote, end, quote, end, end)
            yield "FROM x\nTEMPLATE %s%s%sPARAMETER stop %s%s" % (quote, quote, end, quote, quote)
            yield "FROM x\nTEMPLATE %s%s# no comment%s%s # outside" % (quote, end, end, quote)
            yield "FROM x\nMESSAGE user %sa: b%s%s%s" % (quote, end, end, quote)
    for role in ("system", "user", "assistant", "User", "tool", "", "user:", "us3r", "us\xe9r"):
        yield "FROM x\nMESSAGE %s hello: there" % role
        yield "FROM x\nMESSAGE %s\nSYSTEM s" % role


def _of_parameters():
    """Yield files that differ in parameters."""
    for names, values in (
        ("num_ctx main_gpu use_mlock numa", _INTEGERS),
        ("temperature tfs_z mirostat_tau", _FRACTIONS),
        ("use_mmap low_vram", _BOOLEANS),
    ):
        for name, value in itertools.product(names.split(), values.split()):
            yield "FROM x\nPARAMETER %s %s" % (name, value)
    for name in (
        "num_ctx num_batch num_gpu main_gpu num_thread num_keep seed num_predict top_k repeat_last_n draft_num_predict "
        "mirostat num_gqa top_p min_p typical_p temperature repeat_penalty presence_penalty frequency_penalty "
        "mirostat_eta mirostat_tau tfs_z use_mmap use_mlock numa low_vram f16_kv vocab_only logits_all "
        "penalize_newline stop nun_gpu Num_ctx NUM_CTX model from system license message template renderer requires "
        "num-ctx num_ctx=1 num\xe9"
    ).split():
        yield "FROM x\nPARAMETER %s 1" % name
        yield "FROM x\nPARAMETER %s " % name
        yield 'FROM x\nPARAMETER %s ""' % name
        yield "FROM x\nPARAMETER %s word\nPARAMETER %s 2" % (name, name)
        yield "FROM x\nPARAMETER %s 1\nparameter\t%s\t2\n" % (name, name)
    yield from (
        "PARAMETER model x",
        "FROM x\nPARAMETER model y",
        "FROM x\nPARAMETER message hi",
        "FROM x\nPARAMETER stop",
    )
    for version in _VERSIONS.split():
        yield "FROM x\nREQUIRES %s" % version
    yield 'FROM x\nREQUIRES ""\n'
    yield "FROM x\nRENDERER a\nRENDERER b\nPARSER a\nLICENSE one\nLICENSE two\nSYSTEM a\nSYSTEM\t\nTEMPLATE t"
    yield 'FROM x\nRENDERER ""\nLICENSE ""\nTEMPLATE ""'


def _encoded():
    """Yield files as bytes: byte order marks, UTF-16, and what is no UTF-8."""
    text = 'FROM x\r\nSYSTEM """\xe9 \U0001f600\n"""\n'
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        raw = text.encode(encoding)
        yield from (mark + raw, mark + raw[:-1], mark + mark + raw, raw, mark, mark[:1] + raw)
    for broken in (
        b"\xff",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x28\xa1",
    ):
        for mark in (b"", b"\xef\xbb\xbf"):
            yield mark + b"FROM x\nSYSTEM a" + broken + b"b"
            yield mark + b"FROM x\n" + broken + b"SYSTEM a"
            yield mark + b"FROM x" + broken
    yield b"\xff\xfe" + "FROM x".encode("utf-16-le") + b"\x00\xd8" + "a".encode("utf-16-le")


def _by_chance(count):
    """Yield files of pieces in a random order."""
    chance = random.Random(13)
    pieces = ["FROM x", "SYSTEM ", "PARAMETER stop ", "MESSAGE user ", "TEMPLATE ", "PARAMETER", "num_ctx", "1", "# "]
    pieces += [
        '"',
        '"""',
        '""',
        " ",
        " ",
        "\t",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "a",
        "b: c",
        "\u200b",
        "\xe9",
        "\x0b",
        "#",
        "_",
    ]
    for _number in range(count):
        yield "FROM x\n" + "".join(chance.choice(pieces) for _piece in range(chance.randint(3, 16)))


def constructed():
    """Return the files, each once."""
    texts = itertools.chain(_of_commands(), _of_values(), _of_parameters(), _by_chance(1500))
    return list(dict.fromkeys(itertools.chain((text.encode() for text in texts), _encoded())))


def main():
    """Record the answers."""
    checkout = pathlib.Path(sys.argv[1])
    place = checkout / "modelfiles"
    place.mkdir(exist_ok=True)
    shutil.copy(HERE / "modelfiles.go", place / "main.go")
    subprocess.run(["go", "build", "-o", "program", "."], cwd=place, check=True)
    files = [base64.b64encode(raw).decode() for raw in constructed()]
    answers = subprocess.run(
        [place / "program"], input="\n".join(files), stdout=subprocess.PIPE, check=True, encoding="utf-8"
    ).stdout.split("\n")[:-1]
    with open(RECORDING, "w", encoding="utf-8") as stream:
        for file, answer in zip(files, answers, strict=True):
            stream.write(json.dumps({"file": file, **json.loads(answer)}) + "\n")


if __name__ == "__main__":
    main()
