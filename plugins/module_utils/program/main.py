# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The program `ollama-multigpu` of a host: its commands and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TextIO

from . import checking, diagnosing, gpu_wait, loading, metrics_file, output, status
from .shapes import CANNOT, ERROR, FINE, USAGE, Answer, Line, Places, Refused
from .version import VERSION

NAME = "ollama-multigpu"
_PLACES = Places()
_EXIT_CODES = """exit codes:
  0   all is as planned, or a run of the role or a benchmark is using the host; diagnose: nothing was found
  1   something is not as planned; diagnose: there are findings that are certain or likely
  2   nothing contradicts the plan, and something that has to be known is unknown; diagnose: all findings are possible
  3   there is no plan on this host, or it cannot be used
  4   the command cannot do its work: it is not run as root, or the system refuses
  64  the command line is wrong
"""


class _Parser(argparse.ArgumentParser):
    """A parser that ends with USAGE: argparse's 2 is the code of an unproven plan."""

    def error(self, message: str) -> NoReturn:
        """End the program with a sentence about the command line."""
        self.exit(USAGE, "%s: %s (see %s --help)\n" % (NAME, message, NAME))


def main(
    arguments: Sequence[str] | None = None,
    places: Places = _PLACES,
    stream: TextIO | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a command and return the exit code.

    Args:
        arguments: of the command line; None = those of the process.
        places: where things are on the host.
        stream: where the answer goes; None = standard output.
        environment: variables; None = those of the process.
    """
    options = _parser().parse_args(arguments)
    stream = stream or sys.stdout
    into_journal = output.is_journal(stream, os.environ if environment is None else environment)
    try:
        answer = _run(options, places)
    except Refused as refused:
        answer = Answer(refused.code, [Line(str(refused), ERROR)], {"error": str(refused)})
    except OSError as error:
        text = "%s failed: %s." % (options.command, error)
        answer = Answer(CANNOT, [Line(text, ERROR)], {"error": text})
    try:
        if options.json:
            output.print_data(dict(answer.data, exit_code=answer.code), stream)
        elif answer.text is not None:
            output.print_text(answer.text, stream)
        else:
            output.print_lines(answer.lines, stream, into_journal)
    except BrokenPipeError:  # of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # nor does Python complain when it ends
    return answer.code


def _run(options: argparse.Namespace, places: Places) -> Answer:
    if options.command != "version" and not _is_root():
        raise Refused(
            CANNOT,
            "Only root can read the plan and the processes of the services: run sudo %s %s." % (NAME, options.command),
        )
    commands: dict[str, Callable[[], Answer]] = {
        "version": _version,
        "status": lambda: status.status(places),
        "check": lambda: checking.check(places, heals=options.heal),
        "load": lambda: _load(places, options.instance, options.after_benchmark),
        "diagnose": lambda: diagnosing.diagnose(places, options.seconds, options.answers),
        "metrics": lambda: metrics_file.metrics(places),
        "gpus": lambda: gpu_wait.wait_for_gpus(places, options.seconds),
    }
    return commands[options.command]()


def _load(places: Places, name: str | None, after_benchmark: bool) -> Answer:
    """Load, and let the last instance that is ready write the verdict of the host: it then holds all of them."""
    answer = loading.load(places, name, after_benchmark)
    if answer.data.get("loaded"):
        with contextlib.suppress(Refused):  # before the first plan is applied, there is nothing to check against
            checking.check(places)
    return answer


def _is_root() -> bool:
    return os.geteuid() == 0


def _version() -> Answer:
    python = platform.python_version()
    text = "%s %s, of the collection gpufleet.ollama (Python %s)" % (NAME, VERSION, python)
    return Answer(FINE, [Line(text)], {"version": VERSION, "python_version": python})


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=NAME,
        description="Compare the Ollama instances of this host with the plan that the role ollama_multigpu applied.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("status", "show plan and evidence per GPU; load nothing, write nothing"),
        ("check", "check the plan without loading or generating, and write the verdict"),
        ("load", "load the planned models of an instance, or of all, and prove them"),
        ("diagnose", "find out why it is slow, uses one GPU or none, or answers wrongly; change nothing"),
        ("metrics", "print the metrics of the host in Prometheus' text format; load nothing, write nothing"),
        ("gpus", "wait for the planned GPUs, as the unit ollama-gpus.service does, and say which are missing"),
        ("version", "show the version"),
    ):
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == "load":
            command.add_argument("instance", nargs="?", help="name of the instance, such as gpu0; all without it")
            command.add_argument(
                "--after-benchmark", action="store_true", help="wait for a benchmark that has stopped the instances"
            )
        if name == "check":
            command.add_argument(
                "--heal", action="store_true", help="load again what is not as planned, then restart its instance"
            )
        if name == "diagnose":
            command.add_argument("--seconds", type=float, default=2, help="how long the GPUs are watched")
            command.add_argument("--answers", action="store_true", help="ask each loaded model one question too")
        if name == "gpus":
            command.add_argument("--seconds", type=float, default=0, help="how long after the boot a GPU may appear")
        command.add_argument("--json", action="store_true", help="print the answer as JSON")
    return parser
