"""How fast a large result is saved, beside curl: the same bytes from the same loopback server, in one run.

The server runs in a process of its own and sends one film, whose end is a gigabyte that no decoder looks at, by
`sendfile`. Each way of saving it is a process of its own, in turn, round by round: `curl` alone; what a download has
to do at least, put together from programs (curl, openssl's SHA-256, fsync); and ours: fetched, examined, hashed,
synced, an object. The file system below the temporary folder takes part; put it where results are kept.

    .venv/bin/python -m benchmarks.downloads --megabytes 1000 --at-once 1 4 --rounds 3
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import socket
import socketserver
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

from reconciler.kling.downloads import Downloader
from reconciler.kling.network import LOOPBACK
from reconciler.simulator.render import Film, render
from reconciler.store.objects import ObjectStore, Partial
from reconciler.workspace.media.result_media import examine_result

MB = 1_000_000  # bytes
CURL = "curl --silent --fail --output {file} {url}"
WAYS = {
    "curl": f"{CURL}",
    "curl, openssl, sync": f"{CURL} && openssl dgst -sha256 {{file}} && sync {{file}}",
}
OURS = "ours"


@dataclass(frozen=True)
class Cost:
    """What saving all files took."""

    rate: float  # MB/s, all together
    cpu: float  # s
    memory: float  # MB: the most that a process held


class Handler(socketserver.BaseRequestHandler):
    """Sends the film to whoever asks for anything."""

    def handle(self) -> None:
        """Answer one request."""
        connection: socket.socket = self.request
        connection.recv(65536)
        path = cast("Server", self.server).film
        head = f'HTTP/1.1 200 OK\r\nContent-Length: {path.stat().st_size}\r\nETag: "film"\r\n'
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        with path.open("rb") as file:
            connection.sendfile(file)


class Server(socketserver.ThreadingTCPServer):
    """Serves one film on loopback."""

    daemon_threads = True

    def __init__(self, film: Path) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.film = film


def main() -> None:
    """Serve, fetch, or measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fetch", nargs=2, metavar=("URL", "DIR"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve)
    elif chosen.fetch:
        asyncio.run(fetch(chosen.fetch[0], Path(chosen.fetch[1]), chosen.at_once[0]))
    else:
        print(f"{'median':<32}{'MB/s':>8}{'cpu s':>8}{'most MB':>9}{'of curl':>9}")
        for count in chosen.at_once:
            show(count, measure(chosen.megabytes, count, chosen.rounds))


def show(count: int, found: dict[str, Cost]) -> None:
    """Print a line for each way."""
    for way, cost in found.items():
        name = f"{count} at once, {way}"
        figures = f"{cost.rate:>8.0f}{cost.cpu:>8.2f}{cost.memory:>9.0f}"
        print(f"{name:<32}{figures}{cost.rate / found['curl'].rate:>8.2f}×", flush=True)


def measure(megabytes: int, count: int, rounds: int) -> dict[str, Cost]:
    """Return the medians of each way to save so many files of this size at once."""
    with (
        tempfile.TemporaryDirectory(prefix="downloads-") as folder,
        serving(folder, megabytes) as url,
    ):
        place = Path(folder) / "saved"
        found: dict[str, list[Cost]] = {way: [] for way in (*WAYS, OURS)}
        for _ in range(rounds):
            for way, costs in found.items():
                place.mkdir()
                costs.append(_timed(_command(way, url, place, count), megabytes * count))
                _clear(place)
    return {
        way: Cost(*(statistics.median(one) for one in zip(*map(_figures, costs), strict=True)))
        for way, costs in found.items()
    }


def _figures(cost: Cost) -> tuple[float, float, float]:
    return cost.rate, cost.cpu, cost.memory


def _command(way: str, url: str, place: Path, count: int) -> list[str]:
    if way == OURS:
        fetched = [f"--at-once={count}", "--fetch", url, str(place)]
        return [sys.executable, "-m", "benchmarks.downloads", *fetched]
    each = [WAYS[way].format(file=place / str(number), url=url) for number in range(count)]
    return ["/bin/sh", "-c", "".join(f"({one}) & " for one in each) + "wait"]


def _timed(command: list[str], megabytes: int) -> Cost:
    """Return what a process and all its children took; one of ours says when it began, and what it held."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if (said := done.stdout.split())[:1] == [OURS]:  # without starting Python
        return Cost(megabytes / float(said[1]), float(said[2]), float(said[3]))
    return Cost(megabytes / seconds, cpu, 0)


def _clear(place: Path) -> None:
    subprocess.run(["/bin/rm", "-rf", str(place)], check=True)
    os.sync()  # of one way, that the next one does not pay for


async def fetch(url: str, folder: Path, count: int) -> None:
    """Save the film so many times at once, as a `Saver` does, and print the s and MB that it took."""
    objects = ObjectStore(folder)
    downloader = Downloader(max_bytes=2**40, allowed=LOOPBACK)

    async def save(partial: Partial) -> None:
        await downloader.fetch(url, partial)
        await asyncio.to_thread(examine_result, partial.path)
        await asyncio.to_thread(objects.adopt, partial)

    before, began = time.process_time(), time.perf_counter()
    partials = [objects.partial(str(number)) for number in range(count)]
    await asyncio.gather(*map(save, partials))
    seconds, cpu = time.perf_counter() - began, time.process_time() - before
    await downloader.aclose()
    print(OURS, seconds, cpu, _most())


def _most() -> float:
    """Return the MB that this process held at most; `getrusage` begins with what its parent held."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024 / MB


@contextmanager
def serving(folder: str, megabytes: int) -> Iterator[str]:
    """Serve a film of this size from another process; gives its URL."""
    film = Path(folder) / "film.mp4"
    render(Film("film", "", "", "std", "stamp", 1000, Fraction(10), watermark=False), film)
    rest = megabytes * MB - film.stat().st_size
    with film.open("ab") as file:
        file.write((1).to_bytes(4) + b"free" + rest.to_bytes(8))
        file.truncate(megabytes * MB)
    command = [sys.executable, "-m", "benchmarks.downloads", "--serve", str(film)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


def serve(film: Path) -> None:
    """Serve until this process is ended; say where."""
    with Server(film) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/film.mp4", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
