# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A file that a task writes on the controller, as a whole. Nothing that a host answers has a part in its path."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from typing import Any, Iterator, Optional

#: The largest JSON that is read; that of a report of 1,000 hosts has some 20 MiB.
MOST_BYTES = 256 * 1024 * 1024
LONGEST_NAME = 200  # a file system takes 255 bytes, with the suffix and the name of the draft
_MODE = 0o644


class ControllerFileError(Exception):
    """The file cannot be written or read. The text is one sentence."""


class ControllerFile:
    """A file in a directory.

    Args:
        directory: The directory; a relative one is below the current directory of Ansible.
        name: Of the file.
        subject: What it holds, in words ("The evidence of node1").
        variable: Of the role, which names the directory.
    """

    def __init__(self, directory: str, name: str, subject: str, variable: str) -> None:
        self.directory = os.path.abspath(os.path.expanduser(directory))
        self.name = name
        self._subject, self._variable = subject, variable

    @property
    def path(self) -> str:
        """The path of the file."""
        return os.path.join(self.directory, self.name)

    def check(self) -> None:
        """Look whether the file can be written, without changing anything.

        Raises:
            ControllerFileError: It cannot.
        """
        place = self.directory
        while not os.path.lexists(place):
            place = os.path.dirname(place)
        if not os.path.isdir(place):
            raise self._error("%s is not a directory" % place)
        if not os.access(place, os.W_OK | os.X_OK):
            raise self._error("%s is not writable" % place)
        if os.path.isdir(self.path) and not os.path.islink(self.path):
            raise self._error("%s is a directory" % self.path)

    def put(self, content: bytes) -> None:
        """Write the file as a whole. A link in its place is replaced, not followed.

        Raises:
            ControllerFileError: It cannot be written.
        """
        directory = self._open_directory()
        try:
            self._replace(directory, content)
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error
        finally:
            os.close(directory)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory of the file: the hosts of a run are worked on by several processes.

        Raises:
            ControllerFileError: The directory cannot be made or held.
        """
        directory = self._open_directory()
        try:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX)
            except OSError as error:
                raise self._error(error.strerror or str(error)) from error
            yield
        finally:
            os.close(directory)

    def _open_directory(self) -> int:
        """The directory, which is made where it is missing, as a descriptor that is to be closed."""
        try:
            os.makedirs(self.directory, mode=0o755, exist_ok=True)
            return os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error

    def _replace(self, directory: int, content: bytes) -> None:
        draft: Optional[str] = ".%s.%s" % (self.name, secrets.token_hex(8))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        handle = os.open(str(draft), flags, _MODE, dir_fd=directory)
        try:
            with os.fdopen(handle, "wb") as stream:
                os.fchmod(stream.fileno(), _MODE)
                stream.write(content)
            os.rename(str(draft), self.name, src_dir_fd=directory, dst_dir_fd=directory)
            draft = None
        finally:
            if draft:
                os.unlink(draft, dir_fd=directory)

    def _error(self, reason: str) -> ControllerFileError:
        return ControllerFileError(
            "%s cannot be written to %s: %s. Set %s to a directory on the controller that you may write."
            % (self._subject, self.directory, reason, self._variable)
        )


class UnreadableError(ControllerFileError):
    """A JSON file cannot be read. The text is the end of a sentence about why."""


def read_json(path: str, most_bytes: int = MOST_BYTES) -> Any:
    """Return the content of a JSON file on the controller, whatever it is.

    Args:
        path: Of the file; a relative one is below the current directory of Ansible.
        most_bytes: That it may have.

    Raises:
        UnreadableError: It cannot be read, or is no JSON.
    """
    try:
        with open(os.path.abspath(os.path.expanduser(path)), "rb") as stream:
            content = stream.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise UnreadableError("it has more than %d bytes" % most_bytes)
        return json.loads(content.decode("utf-8"))
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError("it is no JSON (%s)" % error) from error


def file_name(host: str, subject: str) -> str:
    """Return the name of the file of a host.

    Args:
        host: Its name in the inventory.
        subject: What the file holds, in words ("evidence").

    Raises:
        ControllerFileError: The name of the host cannot be the name of a file in a directory.
    """
    problem = _name_problem(host)
    if problem:
        raise ControllerFileError(
            "The %s of the host %.80r cannot be written, because its name %s: give it another name in the "
            "inventory and its address as ansible_host." % (subject, host, problem)
        )
    return host + ".json"


def _name_problem(host: str) -> Optional[str]:
    """Return why a name cannot be that of a file in a directory, None where it can."""
    if not host:
        return "is empty"
    if host.startswith("."):
        return "begins with a dot"
    if "/" in host:
        return "holds a slash"
    if not host.isprintable():
        return "holds a character that is not printed"
    if len(host.encode("utf-8")) > LONGEST_NAME:
        return "is longer than %d bytes" % LONGEST_NAME
    return None
