"""The entry point of every command: the standard output and error, the user's errors, Ctrl-C, the exit code."""

import codecs
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from types import TracebackType
from typing import Any, TextIO

from experiments.common.errors import UserError
from experiments.common.text import visible, visible_lines
from experiments.common.version import DISTRIBUTION, __version__
from experiments.data.memory import asked_for, exceeds_memory

FULL_ERROR = "HYDRA_FULL_ERROR"
"""The environment variable that shows the traceback of an error."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, as in a shell: 128 and the number of the signal."""
VERSION = "--version"
COMMENT = "#"


class OutputError(OSError):
    """The standard output or error cannot be written, for another reason than that its reader has gone."""


def entry_point(main: Callable[[], int | None]) -> Callable[[], None]:
    """Decorate the `main` of a command, which then exits with the code that `main` returns; 0 and None only return.

    With `--version`, every command only prints the version of this package.

    A `UserError` is printed as one sentence and ends with its code; with `HYDRA_FULL_ERROR=1` its traceback is shown.
    Ctrl-C ends with code 130. If the reader of the output has gone, as after `| head` or when the terminal is closed,
    the command continues and ends as it would have ended with a reader. A command that runs out of memory ends with one
    sentence too; the traceback of any other error shows control characters, which may be a stranger's.
    """

    @wraps(main)
    def command() -> None:
        prepare_output()
        sys.excepthook = print_traceback
        leave_out_comment()
        try:
            with memory_reported():
                code = version_printed() if VERSION in sys.argv[1:] else main()
            sys.stdout.flush()
        except UserError as error:
            if os.environ.get(FULL_ERROR):
                raise
            print_error(str(error))
            code = error.code
        except OutputError as error:
            print_error(cannot_write(error))
            code = 2
        except KeyboardInterrupt:
            code = INTERRUPTED
        if code:
            sys.exit(code)

    return command


def run_command_line(
    command_line: Callable[[Sequence[str]], int | None], help_text: Callable[[], str], *, needs_words: bool = True
) -> int | None:
    """Run a verb that reads its own command line, or print its help; return the exit code, as `main` does.

    Args:
        command_line: is given the arguments, and returns the code; None for 0.
        help_text: returns the text that `--help` prints.
        needs_words: whether the verb does nothing without arguments; then the help is printed, and the code is 2.

    Raises:
        UserError: of the verb, or of a file that cannot be written.
    """
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words) or (needs_words and not words):
        print(help_text())
        return 0 if words else 2
    try:
        return command_line(words)
    except OSError as error:
        raise UserError(cannot_write(error)) from None


def leave_out_comment() -> None:
    """Remove `#` and the words after it from the command line: an interactive zsh passes on a pasted comment."""
    if COMMENT in sys.argv[1:]:
        del sys.argv[sys.argv.index(COMMENT, 1) :]
        print(f"note: '{COMMENT}' and the words after it are left out: your shell does not take them as a comment",
              file=sys.stderr, flush=True)  # fmt: skip


def version_printed() -> int:
    """Print the version, and return the exit code."""
    print(f"{DISTRIBUTION} {__version__}")
    return 0


def print_traceback(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Print the traceback of a defect, without characters that a terminal takes as commands."""
    print(visible_lines("".join(traceback.format_exception(kind, error, where))), file=sys.stderr, end="", flush=True)


@contextmanager
def memory_reported() -> Iterator[None]:
    """Turn the lack of memory inside the block into a sentence.

    Raises:
        UserError: memory was refused.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not exceeds_memory(error):
            raise
        raise UserError(
            f"the command needs more memory than is free{asked_for(error)}; use a smaller model, fewer examples or "
            "smaller batches (training.batch_size, training.eval_batch_size), or free some memory"
        ) from error


def print_error(sentence: str) -> None:
    """Print the sentence of an error."""
    print(f"Error: {visible(sentence)}", file=sys.stderr, flush=True)


def cannot_write(error: OSError) -> str:
    """Return the sentence about something that cannot be written, and the remedy."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return f"cannot write {name or 'a file'}: {error.strerror or error}{remedy(error)}"


def remedy(error: OSError) -> str:
    """Return what to do about an error of the file system, to follow the sentence about it; empty if it is unknown."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space on the disk, or write to another one"
    if error.errno == errno.EROFS:
        return "; choose a folder on a file system that can be written"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "; change its permissions, or choose another folder"
    if error.errno == errno.EMFILE:
        return "; allow more open files with: ulimit -n 65536"
    return ""


class Output(io.FileIO):
    """The file of the standard output or error; after its first failure what is written is dropped."""

    def write(self, data: Any) -> int:
        """Write bytes; if the reader has gone, drop them.

        Raises:
            OutputError: the first time that they cannot be written for another reason, such as a full disk.
        """
        try:
            return super().write(data)
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            if isinstance(error, BrokenPipeError) or error.errno == errno.EIO:  # the latter: a closed terminal
                return len(data)
            raise OutputError(error.errno, error.strerror, self.name) from None


PLAINLY = "experiments.plainly"
"""What the standard output does with characters that its encoding does not have; Python would end with an error."""
PLAIN = {"\u2026": "~", "\u00d7": "x", "\u00b0": " deg", "\u2013": "-", "\u2014": "-", "\u2019": "'"}
"""Characters, and how a terminal without them shows them; the others are shown as Python writes them, as \\u0416."""


def plainly(error: UnicodeError) -> tuple[str, int]:
    """Return what is printed instead of characters that an encoding does not have, and where to continue.

    Raises:
        UnicodeError: it is not about printing.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


def prepare_output() -> None:
    """Make the standard output and error independent of their readers, and open those that are closed.

    A test or a notebook has replaced them; there nothing changes.
    """
    open_closed_descriptors()
    codecs.register_error(PLAINLY, plainly)
    if sys.stdout is sys.__stdout__:
        sys.stdout = independent(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = independent(sys.stderr, 2)


def open_closed_descriptors() -> None:
    """Open the closed ones of the descriptors 0 to 2, so that no file of a run gets one of them and is printed to."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def independent(stream: TextIO | None, descriptor: int) -> TextIO:
    """Return a stream like the one that Python opened, over `Output`; Python gives None for a closed descriptor."""
    if not isinstance(stream, io.TextIOWrapper):
        return open(descriptor, "w", closefd=False)
    stream.flush()
    file = Output(stream.fileno(), "w", closefd=False)
    file.name = stream.name
    return io.TextIOWrapper(
        file if isinstance(stream.buffer, io.FileIO) else io.BufferedWriter(file),  # FileIO: unbuffered
        stream.encoding,
        PLAINLY if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
