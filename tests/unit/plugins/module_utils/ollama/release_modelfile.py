# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The rules of Ollama 0.32.15 for Modelfiles as a state machine, for tests; written from the rules, not the product.

`parse_file` goes through a file character by character, as parser/parser.go does; `create_request` is CreateRequest
with api/types.go, FormatParams. Files of adapters and drafts are left out.
"""

from __future__ import annotations

import struct
import unicodedata
from fractions import Fraction

NIL, NAME, VALUE, PARAMETER, MESSAGE, COMMENT = "nil", "name", "value", "parameter", "message", "comment"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS = frozenset("0123456789")
_COMMANDS = frozenset("from license template system adapter draft renderer parser parameter message requires".split())
_DROPPED = frozenset(
    "penalize_newline low_vram f16_kv logits_all vocab_only use_mlock mirostat mirostat_tau mirostat_eta".split()
)
_KINDS = dict.fromkeys(
    (
        "num_keep seed num_predict top_k repeat_last_n num_ctx num_batch num_gpu main_gpu num_thread draft_num_predict"
    ).split(),
    "int",
)
_KINDS.update(
    dict.fromkeys(
        "top_p min_p typical_p temperature repeat_penalty presence_penalty frequency_penalty".split(), "float32"
    )
)
_KINDS.update(use_mmap="bool", stop="texts")


class Refused(Exception):
    """Ollama refuses the file."""


def characters(raw):
    """Decode as golang.org/x/text BOMOverride over a UTF-8 decoder does."""
    if raw[:2] == b"\xff\xfe":
        return raw[2:].decode("utf-16-le", "replace")
    if raw[:2] == b"\xfe\xff":
        return raw[2:].decode("utf-16-be", "replace")
    if raw[:3] != b"\xef\xbb\xbf":
        return raw.decode("utf-8", "replace")
    found, rest = "", raw[3:]  # after a mark of UTF-8, Go reads the bytes itself: one U+FFFD for each bad byte
    while rest:
        for length in (1, 2, 3, 4):
            try:
                found += rest[:length].decode("utf-8")
                rest = rest[length:]
                break
            except UnicodeDecodeError:
                continue
        else:
            found, rest = found + "\ufffd", rest[1:]
    return found


def _prints(character):
    return character == " " or unicodedata.category(character)[0] in "LMNPS"


def _next(character, state):
    """The next state, and the character that is kept ("" for none)."""
    blank, newline = character in " \t", character in "\r\n"
    if state == NIL:
        if character == "#":
            return COMMENT, ""
        return (NIL, "") if blank or newline else (NAME, character)
    if state == COMMENT:
        return (NIL, "") if newline else (COMMENT, "")
    if state == VALUE:
        return (NIL, character) if newline or blank else (VALUE, character)
    allowed = _LETTERS | _DIGITS | {"_"} if state == PARAMETER else _LETTERS
    if character in allowed:
        return state, character
    if blank:
        return VALUE, ""
    raise Refused(state)


def _unquoted(text):
    """The value of a buffer; None while it is open."""
    for quote in ('"""', '"'):
        if text.startswith(quote):
            closed = len(text) >= 2 * len(quote) and text.endswith(quote)
            return text[len(quote) : -len(quote)] if closed else None
    return text


def parse_file(raw):
    """The commands of a file as (name, value); Refused."""
    found, state, buffer, role, name = [], NIL, "", "", ""
    for character in characters(raw):
        following, kept = _next(character, state)
        if following != state:
            if state == NAME:
                word = buffer.lower()
                if word not in _COMMANDS:
                    raise Refused(word)
                name = {"from": "model"}.get(word, word)
                following = {"parameter": PARAMETER, "message": MESSAGE}.get(word, following)
            elif state == PARAMETER:
                name = buffer
            elif state == MESSAGE:
                if buffer not in ("system", "user", "assistant"):
                    raise Refused("role")
                role = buffer
            elif state == VALUE:
                value = _unquoted(buffer.strip(" \t\r\n"))
                if value is None or character in " \t":
                    buffer += character
                    continue
                found.append((name, role + ": " + value if role else value))
                role = ""
            buffer, state = "", following
        if kept and _prints(kept):
            buffer += kept
    if state == VALUE:
        value = _unquoted(buffer.strip(" \t\r\n"))
        if value is None:
            raise Refused("open")
        found.append((name, role + ": " + value if role else value))
    elif state not in (NIL, COMMENT):
        raise Refused("end")
    if "model" not in [command for command, _value in found]:
        raise Refused("no FROM")
    return found


# -- what is sent ------------------------------------------------------------------------------------------------------


def _number(text, digits, base):
    """(value, digits read, rest) of digits with underscores between them."""
    value = count = 0
    for position, character in enumerate(text):
        if character == "_":
            continue
        if character not in digits:
            return value, count, text[position:]
        value, count = value * base + digits.index(character.lower()), count + 1
    return value, count, ""


def _underscores_fit(text, hexadecimal):
    """Go, strconv.underscoreOK: each underscore is between digits, or after the prefix."""
    before = "0" if hexadecimal else "!"
    for character in text:
        digit = character in "0123456789" or (hexadecimal and character.lower() in "abcdef")
        if character == "_":
            if before != "0":
                return False
            before = "_"
        elif digit:
            before = "0"
        else:
            if before == "_":
                return False
            before = "!"
    return before != "_"


def _float32(text):
    """strconv.ParseFloat(text, 32), read as Go's readFloat does; Refused also for what JSON does not have."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    base = 16 if rest[:2].lower() == "0x" else 10
    rest = rest[2:] if base == 16 else rest
    digits = "0123456789abcdef"[:base]
    both = digits + digits[10:].upper()
    whole, before, tail = _number(rest, both if base == 16 else digits, base)
    after = 0
    fraction = 0
    if tail.startswith("."):
        fraction, after, tail = _number(tail[1:], both if base == 16 else digits, base)
    if not before + after or not _underscores_fit(rest, base == 16):
        raise Refused(text)
    value = Fraction(whole) + Fraction(fraction, base**after)
    mark = "p" if base == 16 else "e"
    if tail[:1].lower() == mark:
        tail = tail[1:]
        sign = -1 if tail[:1] == "-" else 1
        power, count, tail = _number(tail[1:] if tail[:1] in ("+", "-") else tail, "0123456789", 10)
        if not count:
            raise Refused(text)
        value *= Fraction(2 if base == 16 else 10) ** (sign * min(power, 5000))
    elif base == 16:
        raise Refused(text)
    if tail:
        raise Refused(text)
    try:
        return struct.unpack("<f", struct.pack("<f", float(value) * (-1 if text[:1] == "-" else 1)))[0]
    except OverflowError:
        raise Refused(text) from None


def _int64(text):
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits or set(digits) - _DIGITS:
        raise Refused(text)
    value = int(digits) * (-1 if text[:1] == "-" else 1)
    if not -(1 << 63) <= value < 1 << 63:
        raise Refused(text)
    return value


def _bool(text):
    for value, texts in ((True, "1 t T TRUE true True"), (False, "0 f F FALSE false False")):
        if text in texts.split():
            return value
    raise Refused(text)


_READ = {"int": _int64, "float32": _float32, "bool": _bool}


def _is_semver(text):
    """golang.org/x/mod/semver, IsValid, after the "v"."""
    text, plus, build = text.partition("+")
    text, minus, pre = text.partition("-")
    numbers = text.split(".")
    if len(numbers) > 3 or ((plus or minus) and len(numbers) != 3):
        return False
    for number in numbers:
        if not number or set(number) - _DIGITS or (number[0] == "0" and number != "0"):
            return False
    for given, parts, leading_zeros in ((minus, pre, False), (plus, build, True)):
        for part in parts.split(".") if given else []:
            if not part or set(part) - _LETTERS - _DIGITS - {"-"}:
                return False
            if not leading_zeros and not set(part) - _DIGITS and part[0] == "0" and part != "0":
                return False
    return True


def create_request(commands):
    """What ollama create sends, without what is empty; Refused."""
    sent, parameters = {}, {}
    for name, value in commands:
        if name == "model":
            if not value:
                raise Refused("FROM the directory of the file, which has no model")
            sent["from"] = value
        elif name in ("template", "system", "renderer", "parser"):
            sent[name] = value
        elif name == "license":
            sent.setdefault("license", []).append(value)
        elif name == "requires":
            sent["requires"] = value[1:] if value[:1] == "v" else value
            if not _is_semver(sent["requires"]):
                raise Refused(value)
        elif name == "message":
            role, _colon, text = value.partition(": ")
            sent.setdefault("messages", []).append({"role": role, "content": text})
        elif name in _DROPPED or name in ("adapter", "draft"):
            continue
        elif name not in _KINDS:
            raise Refused(name)
        elif name == "stop":
            parameters.setdefault("stop", []).append(value)
        else:
            parameters[name] = _READ[_KINDS[name]](value)
    sent["parameters"] = parameters
    return {key: value for key, value in sent.items() if value}
