"""Decoding of untrusted media in processes of their own: how one is started, asked, bounded and ended.

`python -P -m reconciler.workspace.decoding SECONDS MEMORY WRITTEN NICENESS` answers one question after the other about
open files, until its socket (stdin) closes. It knows no key and no setting. What crashes, hangs or swells takes nobody
with it: a file that does so in a fresh process is to blame for it, and for nothing else.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NamedTuple

from reconciler.core.errors import OURS, ToldMistake, mistake
from reconciler.workspace.flaws import Evident, Flaw
from reconciler.workspace.programs import environment

MEBIBYTE: Final = 1024 * 1024
_MODULE: Final = "reconciler.workspace.decoding"
_HEAD: Final = struct.Struct(">II")  # bytes of facts and of data that follow
_MOST_FACTS: Final = 64 * 1024  # bytes of an answer, or a question
_MOST_DATA: Final = 64 * MEBIBYTE  # bytes that come with it
_MOST_SAID: Final = 500  # characters
_IDLE: Final = 30.0  # s; then a process leaves, and the next question starts another
_NO_START: Final = frozenset({1, 2})  # what the interpreter ends with where it cannot even begin
_TOO_LONG: Final = "takes too long to decode; export it again"
_TOO_LARGE: Final = "needs more memory to decode than it may have ({} MiB); scale it down"
_CRASHES: Final = "makes its decoder crash ({}); export it again"


class Beyond(Flaw):
    """A file broke the bounds of its decoder: time, memory, or a crash."""


class Unfinished(Beyond):
    """A file was not decoded to the end, for a reason that may pass."""


class _Ended(Exception):
    """The process is gone, or is not to be waited for any longer (then True)."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a process may take; measured with good files of the largest size that is taken, and some margin."""

    seconds: int  # of the processor, for one file
    patience: float  # s by the clock, for one file: its disk may hang
    memory: int  # bytes of address space
    written: int = 0  # bytes of one file
    niceness: int = 0


class Answer(NamedTuple):
    """What a process says of a file."""

    facts: Any  # out of JSON
    data: bytes = b""


class Decoder:
    """One process, which is started when it is needed; one question at a time. Any thread may ask."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._closings = 0

    def ask(self, task: str, arguments: Sequence[str], *files: int) -> Answer:
        """Return what a task of `_tasks` makes of open files (descriptors).

        Raises:
            Flaw: the files are at fault; `Beyond` where they broke the bounds.
            OSError: the machine is: a disk, memory.
            ToldMistake: we are.
        """
        closings = self._closings
        with self._turn:
            while True:
                is_fresh = self._process is None
                try:
                    if is_fresh:
                        self._start()
                    answer = self._exchange(task, arguments, files)
                except _Ended as ended:
                    code, (is_late,) = self._end(), ended.args
                    if self._closings != closings:
                        raise Unfinished("was not decoded to the end: the program leaves") from None
                    # Its memory may be as an earlier file left it: nobody is blamed before a fresh one fails.
                    if is_fresh or is_late or code == -signal.SIGXCPU:
                        raise _blame(code) from None
                except BaseException:
                    self._end()
                    raise
                else:
                    if "memory" not in answer.facts:
                        return _checked(answer)
                    self._end()
                    if is_fresh:
                        raise Beyond(_TOO_LARGE.format(self._bounds.memory // MEBIBYTE))

    def close(self) -> None:
        """End the process, whatever it does; a question that waits for it is told so."""
        self._closings += 1
        if (process := self._process) is None:
            return
        process.kill()
        if self._turn.acquire(timeout=1):  # from then on nothing is written any more
            self._end()
            self._turn.release()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        one = self._bounds
        words = [one.seconds, one.memory, one.written, one.niceness]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - no shell; our own module, by its name
                [sys.executable, "-P", "-m", _MODULE, *map(str, words)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",  # nothing is looked up in the folder
                # Each arena reserves address space, of which there is a bound.
                env={**environment(os.environ), "MALLOC_ARENA_MAX": "2"},
            )
        self._socket = ours

    def _end(self) -> int:
        """End the process and return how it ended."""
        process, self._process = self._process, None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if process is None:
            return 0
        with suppress(subprocess.TimeoutExpired):
            return process.wait(0.2)  # it is gone already, and the system has yet to say how
        process.kill()
        return process.wait()

    def _exchange(self, task: str, arguments: Sequence[str], files: Sequence[int]) -> Answer:
        assert self._socket is not None
        until = time.monotonic() + self._bounds.patience
        question = json.dumps([task, *arguments]).encode()
        try:
            self._socket.settimeout(self._bounds.patience)
            socket.send_fds(self._socket, [_HEAD.pack(len(question), 0) + question], list(files))
            facts, data = _HEAD.unpack(_receive(self._socket, _HEAD.size, until))
            if facts > _MOST_FACTS or data > _MOST_DATA:
                raise ValueError("more than any answer is")  # noqa: TRY301 - it is no answer
            said = json.loads(_receive(self._socket, facts, until))
            return Answer(said, _receive(self._socket, data, until))
        except (
            OSError,
            ValueError,
            _Ended,
        ) as error:  # no answer, none in time, or one that is none
            if self._process is not None:
                self._process.kill()
            raise _Ended(isinstance(error, TimeoutError)) from error


def _receive(source: socket.socket, count: int, until: float | None = None) -> bytes:
    """Return so many bytes. Raises `_Ended` where the other end is gone, OSError after the time (monotonic s)."""
    parts, left = [], count
    while left:
        if until is not None:
            source.settimeout(max(until - time.monotonic(), 0.001))
        part = source.recv(min(left, MEBIBYTE))
        if not part:
            raise _Ended
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _blame(code: int) -> Exception:
    """Return what the end of a fresh process says about the file that it was asked about."""
    if code in _NO_START:
        return ToldMistake(f"{OURS}: the decoding process ended with {code}; please report it")
    if code == -signal.SIGXCPU:
        return Beyond(_TOO_LONG)
    if code == -signal.SIGKILL:  # by us, after some patience, or by somebody else
        return Unfinished("was not decoded to the end: its decoder took too long, or was killed")
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return Beyond(_CRASHES.format(name))


def _checked(answer: Answer) -> Answer:
    """Return an answer, or raise what it says instead of one."""
    match answer.facts:
        case {"facts": facts}:
            return Answer(facts, answer.data)
        case {"flaw": said, "is_evident": is_evident}:
            raise (Evident if is_evident else Flaw)(str(said)[:_MOST_SAID])
        case {"errno": int(number), "strerror": said}:
            raise OSError(number, str(said)[:_MOST_SAID])
        case {"mistake": said}:
            raise ToldMistake(str(said)[:_MOST_SAID])
    raise ToldMistake(f"{OURS}: the decoding process gave no answer; please report it")


MEDIA: Final = Decoder(Bounds(seconds=30, patience=120, memory=1536 * MEBIBYTE))
"""For what specs name."""
RESULTS: Final = Decoder(Bounds(seconds=30, patience=120, memory=1536 * MEBIBYTE))
"""For what was paid for, which waits for no file of the folder."""
PREVIEWS: Final = Decoder(Bounds(seconds=120, patience=300, memory=1536 * MEBIBYTE, niceness=5))


@atexit.register
def close_all() -> None:
    """End every process that decodes; a later question starts another."""
    for decoder in (MEDIA, RESULTS, PREVIEWS):
        decoder.close()


# From here on: what the process itself does.


def main(arguments: list[str]) -> int:
    """Answer questions until nobody asks; returns the exit code."""
    seconds, memory, written, niceness = map(int, arguments)
    threading.Thread(target=_end_with_asker, daemon=True).start()
    os.nice(niceness)
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, written),
        (resource.RLIMIT_CORE, 0),
    ):
        _limit(what, most)
    with socket.socket(fileno=0) as asker:
        while select.select([asker], [], [], _IDLE)[0]:
            if not _answer(asker, seconds):
                break
            # What a library holds in circles, threads among it, would fill the bound, and a good file be blamed for that.
            gc.collect()
            gc.freeze()
    return 0


def _answer(asker: socket.socket, seconds: int) -> bool:
    """Answer one question; False when nobody asks any more."""
    first, descriptors, _, _ = socket.recv_fds(asker, _HEAD.size, 4)
    if not first:
        return False
    with ExitStack() as stack:
        files = [stack.enter_context(os.fdopen(one, "rb")) for one in descriptors]
        first += _receive(asker, _HEAD.size - len(first))
        question = json.loads(_receive(asker, _HEAD.unpack(first)[0]))
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)
        said, data = _said(question, files)
    packed = json.dumps(said).encode()
    asker.sendall(_HEAD.pack(len(packed), len(data)) + packed + data)
    return True


def _said(question: list[str], files: Sequence[BinaryIO]) -> tuple[dict[str, Any], bytes]:
    task, *arguments = question
    try:
        answer = _tasks(task)(*files, *arguments)
    except Flaw as flaw:
        if isinstance(flaw.__cause__, MemoryError):
            return {"memory": True}, b""
        return {"flaw": str(flaw), "is_evident": isinstance(flaw, Evident)}, b""
    except MemoryError:
        return {"memory": True}, b""
    except OSError as error:
        return {"errno": error.errno or 0, "strerror": error.strerror or "it cannot be read"}, b""
    except Exception as error:  # noqa: BLE001 - nobody reads a traceback of this process
        return {"mistake": mistake(error)}, b""
    return {"facts": answer.facts}, answer.data


def _tasks(name: str) -> Callable[..., Answer]:
    """Return what is done with files; its module, and with it a library, is imported when it is needed."""
    from reconciler.workspace import media, preparing, previews, remote_media

    tasks: dict[str, Callable[..., Answer]] = {
        "judge": media.judge,
        "examine": media.examine,
        "preview": previews.draw,
        "prepare": preparing.prepare,
        "sample": remote_media.sample,
    }
    return tasks[name]


def _end_with_asker() -> None:
    """End when whoever asked is gone, also in the middle of a file."""
    watch = select.poll()
    watch.register(0, 0)  # only its end is told
    watch.poll()
    os._exit(0)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (bound, hard))


if __name__ == "__main__":
    # By its own name: errors raised by the modules that are imported later are the same classes.
    from reconciler.workspace import decoding  # noqa: PLW0406

    sys.exit(decoding.main(sys.argv[1:]))
