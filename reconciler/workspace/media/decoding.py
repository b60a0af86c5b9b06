"""Decoding of untrusted media in processes of their own: how one is started, asked, bounded and ended.

`python -P -m reconciler.workspace.media.decoding SECONDS MEMORY WRITTEN NICENESS` answers one question after the other about
open files, until its socket (stdin) closes. It knows no key and no setting. A file that crashes, hangs or fills a fresh
process is to blame; in a used one, an earlier file may be.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from reconciler.core.errors import OURS, ToldMistake, mistake
from reconciler.workspace.media.flaws import Beyond, Evident, Flaw, Unfinished
from reconciler.workspace.programs import environment

MEBIBYTE: Final = 1024 * 1024
_MODULE: Final = "reconciler.workspace.media.decoding"
# The module of a task, and with it a library, is imported when it is needed.
_TASKS: Final = {
    "judge": "reconciler.workspace.media.judging:judge",
    "sample": "reconciler.workspace.media.judging:sample",
    "examine": "reconciler.workspace.media.result_media:examine",
    "preview": "reconciler.workspace.media.result_media:draw",
    "prepare": "reconciler.workspace.media.preparing:prepare",
}
_HEAD: Final = struct.Struct(">II")  # bytes of facts and of data that follow
_MOST_FACTS: Final = 64 * 1024  # bytes of an answer, or a question
_MOST_DATA: Final = 64 * MEBIBYTE  # bytes that come with it
_MOST_SAID: Final = 500  # characters
_IDLE: Final = 30.0  # s; then a process leaves, and the next question starts another
_NO_START: Final = (1, 2)  # what the interpreter ends with where it cannot even begin


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a process may use: what good files of the largest size were measured to need, and a margin."""

    seconds: int  # of the processor, for one file
    patience: float  # s by the clock, for one file: its disk may hang
    memory: int  # bytes of address space
    written: int = 0  # bytes of one file
    niceness: int = 0


class Answer(NamedTuple):
    """The answer of a process about its files."""

    facts: Any  # out of JSON
    data: bytes = b""


class _Again(Exception):
    """A process that had answered before ended, maybe for what an earlier file left in its memory."""


class Decoder:
    """One process, which is started when it is needed; one question at a time. Any thread may ask."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._turn = threading.Lock()
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._closings = 0

    def ask(self, task: str, arguments: Sequence[str], *files: int) -> Answer:
        """Return the answer of one of the `_TASKS` about open files (descriptors).

        Raises `Flaw` where a file is at fault (`Beyond`: it broke the bounds), OSError where the machine is, `ToldMistake`
        where this program is.
        """
        question = json.dumps([task, *arguments]).encode()
        with self._turn:
            with suppress(_Again):
                return self._ask_once(question, files)
            return self._ask_once(question, files)

    def close(self) -> None:
        """End the process; a question that waits for it raises `Unfinished`."""
        self._closings += 1
        if (running := self._running) is None:
            return
        running[0].kill()
        if self._turn.acquire(timeout=1):  # from then on nothing is written any more
            self._end()
            self._turn.release()

    def _ask_once(self, question: bytes, files: Sequence[int]) -> Answer:
        """Ask once; raises `_Again` where the trouble may be an earlier file's."""
        is_fresh, closings = self._running is None, self._closings
        until = time.monotonic() + self._bounds.patience
        try:
            said, data = self._exchange(question, files)
        except (OSError, EOFError, ValueError, RecursionError, struct.error):
            is_late, code = time.monotonic() >= until, self._end()
            if self._closings != closings:
                raise Unfinished("was not decoded to the end: the program leaves") from None
            if is_fresh or is_late or code == -signal.SIGXCPU:
                raise _blame(code) from None
            raise _Again from None
        except BaseException:
            self._end()
            raise
        match said:
            case {"facts": facts}:
                return Answer(facts, data)
            case {"memory": _}:
                self._end()
                if not is_fresh:
                    raise _Again
                most = self._bounds.memory // MEBIBYTE
                raise Beyond(
                    f"needs more memory to decode than it may have ({most} MiB); scale it down"
                )
            case {"flaw": flaw, "is_evident": is_evident}:
                raise (Evident if is_evident else Flaw)(str(flaw)[:_MOST_SAID])
            case {"errno": int(number), "strerror": reason}:
                raise OSError(number, str(reason)[:_MOST_SAID])
            case {"mistake": sentence}:
                raise ToldMistake(str(sentence)[:_MOST_SAID])
        raise ToldMistake(f"{OURS}: the decoding process gave no answer; please report it")

    def _exchange(self, question: bytes, files: Sequence[int]) -> tuple[Any, bytes]:
        """Return facts and data; any of several errors means that the process gave none, or none in time."""
        process, asked = self._started()
        late = threading.Timer(self._bounds.patience, process.kill)
        late.daemon = True
        late.start()
        try:
            socket.send_fds(asked, [_HEAD.pack(len(question), 0) + question], list(files))
            with asked.makefile("rb") as answer:
                facts, length = _HEAD.unpack(answer.read(_HEAD.size))
                if facts > _MOST_FACTS or length > _MOST_DATA:
                    raise ValueError("more than any answer is")
                said, data = json.loads(answer.read(facts)), answer.read(length)
                if len(data) < length:
                    raise EOFError
                return said, data
        finally:
            late.cancel()

    def _started(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self._running is not None:
            return self._running
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        one = self._bounds
        words = map(str, (one.seconds, one.memory, one.written, one.niceness))
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - no shell; our own module, by its name
                [sys.executable, "-P", "-m", _MODULE, *words],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",  # nothing is looked up in the folder
                # Each arena reserves address space, of which there is a bound.
                env={**environment(os.environ), "MALLOC_ARENA_MAX": "2"},
            )
        self._running = process, ours
        return self._running

    def _end(self) -> int:
        """End the process, unless it ended before, and return its exit code."""
        running, self._running = self._running, None
        if running is None:
            return 0
        process, asked = running
        asked.close()
        process.kill()
        return process.wait()


def _blame(code: int) -> Exception:
    """Return the error that a fresh process's exit code means for its file."""
    if code in _NO_START:
        return ToldMistake(f"{OURS}: the decoding process ended with {code}; please report it")
    if code == -signal.SIGXCPU:
        return Beyond("takes too long to decode; export it again")
    if code in {0, -signal.SIGKILL}:  # killed here for its lateness or its answer, or by the system
        return Unfinished("was not decoded to the end: its decoder took too long, or was killed")
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return Beyond(f"makes its decoder crash ({name}); export it again")


# For the media of specs; for results, which wait for no file of the folder; for their previews.
MEDIA: Final = Decoder(Bounds(seconds=30, patience=120, memory=1536 * MEBIBYTE))
RESULTS: Final = Decoder(Bounds(seconds=30, patience=120, memory=1536 * MEBIBYTE))
PREVIEWS: Final = Decoder(Bounds(seconds=120, patience=300, memory=1536 * MEBIBYTE, niceness=5))


@atexit.register
def close_all() -> None:
    """End every process that decodes; a later question starts another."""
    for decoder in (MEDIA, RESULTS, PREVIEWS):
        decoder.close()


# From here on: what the process itself does.


def main(arguments: list[str]) -> int:
    """Answer questions until the asker is gone or silent for long; return the exit code."""
    seconds, memory, written, niceness = map(int, arguments)
    threading.Thread(target=_end_with_asker, daemon=True).start()
    os.nice(niceness)
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_FSIZE, written)
    _limit(resource.RLIMIT_CORE, 0)
    with socket.socket(fileno=0) as asker:
        while select.select([asker], [], [], _IDLE)[0]:
            if not _answer(asker, seconds):
                break
            # Uncollected circles of the libraries, with their threads, would fill the memory that the next file may use.
            gc.collect()
            gc.freeze()
    return 0


def _answer(asker: socket.socket, seconds: int) -> bool:
    """Answer one question; False when the asker is gone."""
    head, descriptors, _, _ = socket.recv_fds(asker, _HEAD.size, 4, socket.MSG_WAITALL)
    if not head:
        return False
    data = b""
    with ExitStack() as stack:
        files = [stack.enter_context(os.fdopen(one, "rb")) for one in descriptors]
        task, *arguments = json.loads(asker.recv(_HEAD.unpack(head)[0], socket.MSG_WAITALL))
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)
        try:
            facts, data = pkgutil.resolve_name(_TASKS[task])(*files, *arguments)
            said: dict[str, Any] = {"facts": facts}
        except Exception as error:  # noqa: BLE001 - the asker gets it as the answer
            said = _trouble(error)
    packed = json.dumps(said).encode()
    asker.sendall(_HEAD.pack(len(packed), len(data)) + packed + data)
    return True


def _trouble(error: Exception) -> dict[str, Any]:
    """Return an error as an answer, for `_ask_once` to raise."""
    if isinstance(error.__cause__ if isinstance(error, Flaw) else error, MemoryError):
        return {"memory": True}
    if isinstance(error, Flaw):
        return {"flaw": str(error), "is_evident": isinstance(error, Evident)}
    if isinstance(error, OSError):
        return {"errno": error.errno or 0, "strerror": error.strerror or "it cannot be read"}
    return {"mistake": mistake(error)}


def _end_with_asker() -> None:
    """End this process with its asker, also in the middle of a file."""
    watch = select.poll()
    watch.register(0, 0)  # woken by its end only
    watch.poll()
    os._exit(0)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (bound, hard))


if __name__ == "__main__":
    # By its own name, so that `Flaw` and others are the same classes as in the modules that are imported later.
    from reconciler.workspace.media import decoding  # noqa: PLW0406

    sys.exit(decoding.main(sys.argv[1:]))
