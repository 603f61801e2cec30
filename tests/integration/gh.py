# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A program in the place of GitHub's gh: takes `gh pr comment` as gh does, and prints the comment as JSON.

Options: gh-pr-comment(1). What GitHub refuses is refused here: a comment without text, or with more than 65536
characters.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re

MOST_CHARACTERS = 65536


def parser() -> argparse.ArgumentParser:
    """The command line of `gh pr comment`."""
    found = argparse.ArgumentParser(prog="gh", allow_abbrev=False)
    found.add_argument("group", choices=["pr"])
    found.add_argument("command", choices=["comment"])
    found.add_argument("number", nargs="?", help="number, address or branch of the pull request")
    found.add_argument("-R", "--repo")
    what = found.add_mutually_exclusive_group(required=True)
    what.add_argument("-b", "--body")
    what.add_argument("-F", "--body-file", type=pathlib.Path)
    found.add_argument("--edit-last", action="store_true")
    found.add_argument("--create-if-none", action="store_true")
    found.add_argument("--delete-last", action="store_true")
    found.add_argument("--yes", action="store_true")
    return found


def main() -> None:
    """Print the comment, or end with what gh or GitHub would refuse."""
    known = parser()
    options = known.parse_args()
    if not os.environ.get("GH_TOKEN"):
        known.error("set the GH_TOKEN environment variable")
    if options.create_if_none and not options.edit_last:
        known.error("--create-if-none can only be used with --edit-last")
    if not re.fullmatch(r"\d+", options.number or ""):
        known.error("a workflow gives the number of the pull request, not %r" % options.number)
    body = options.body if options.body_file is None else options.body_file.read_text(encoding="utf-8")
    if not 0 < len(body) <= MOST_CHARACTERS:
        known.error("a comment has 1 to %d characters, not %d" % (MOST_CHARACTERS, len(body)))
    print(json.dumps({"number": int(options.number), "body": body}))


if __name__ == "__main__":
    main()
