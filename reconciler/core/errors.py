"""The errors that users see: one sentence (`message`) and what to do (`hint`); a docstring is the default message.

`ProviderError`, with one class for each kind of reaction, is in `kling/errors.py`.
"""

from __future__ import annotations

import inspect
import traceback

OURS = "this is a mistake in reconciler itself"
MISTAKES = (TypeError, AttributeError, NameError, AssertionError, ImportError, NotImplementedError)
"""What a call of ours that cannot be right ends with. No file, answer or disk is ever blamed for one of these."""


class ReconcilerError(Exception):
    """Something went wrong that the reconciler has no better word for."""

    def __init__(self, message: str | None = None, *, hint: str = "") -> None:
        self.message = message or inspect.cleandoc(type(self).__doc__ or "")
        self.hint = hint
        super().__init__(self.message)


class SpecError(ReconcilerError):
    """A spec file cannot be understood."""


class WorkspaceError(ReconcilerError):
    """The folder cannot be used."""


class InputChanged(WorkspaceError):
    """A local file changed since it was read; nothing was sent."""


class SettingsError(ReconcilerError):
    """A setting is missing or wrong."""


class StateError(ReconcilerError):
    """The state store cannot be used."""


class StateLocked(StateError):
    """Another process is writing to this state folder."""


class StateReplaced(StateError):
    """What this process writes to is not what lies on the disk any more."""


class StaleRecord(StateError):
    """A record changed under the hands of its writer."""


class CapReached(ReconcilerError):
    """A spending cap would be passed, so nothing was sent."""


class HostingError(ReconcilerError):
    """The media store cannot be used."""


class ToldMistake(AssertionError):
    """A mistake of our own that another process told: the sentence that `mistake` made there."""


def mistake(error: BaseException) -> str:
    """Return the sentence about a bug of this program, with the innermost line of its code."""
    if isinstance(error, ToldMistake):
        return str(error)
    frames = list(traceback.walk_tb(error.__traceback__))
    ours = [at for at in frames if str(at[0].f_globals.get("__name__")).startswith("reconciler.")]
    at = ""
    if frames:
        frame, line = (ours or frames)[-1]
        at = f" at {frame.f_code.co_filename.rpartition('/')[2]}:{line}"
    return f"{OURS}: {type(error).__name__}{at}; please report it"


def counted(count: int, noun: str) -> str:
    """Return a number and its noun: `1 file`, `2,048 files`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def told(error: ReconcilerError) -> str:
    """Return an error's message, and its hint where there is one, in one line."""
    return in_a_line(error) if error.hint else error.message


def in_a_line(error: ReconcilerError) -> str:
    """Return an error as whole sentences in one line, with a full stop even without a hint."""
    return f"{error.message.rstrip('.')}. {error.hint}".rstrip()
