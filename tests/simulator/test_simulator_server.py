"""A simulator starts, tells where it is, stops when told, and lets itself be driven in process as well."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from reconciler.simulator.app import api_app
from reconciler.simulator.clock import VirtualClock
from reconciler.simulator.config import API_KEY, SimulatorConfig
from reconciler.simulator.provider import Provider
from reconciler.simulator.server import start_in_thread
from tests.simulator.caller import TASKS, calling, order
from tests.support.simulator import Simulator, simulator

COMMAND = """
import sys
from pathlib import Path
from reconciler.simulator.server import SimulatorConfig, run

def ready(running):
    print(running.base_url, flush=True)

run(SimulatorConfig(folder=Path(sys.argv[1]), render="draft"), on_ready=ready)
print("closed", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """It says where it is, answers, and returns after SIGINT or SIGTERM without a traceback."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", COMMAND, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.get(f"{url}/simulator", trust_env=False).json()["simulator"] is True
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "closed\n", "")


def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    """After SIGKILL the next start has the task, the bill and a later time."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", COMMAND, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        headers = {"authorization": f"Bearer {API_KEY}"}
        answer = httpx.post(url + TASKS, json=order("one"), headers=headers, trust_env=False)
        process.kill()
    data = answer.json()["data"]
    with simulator(tmp_path) as sim, calling(sim) as api:
        assert sim.billed() == {"one": 1}
        assert sim.advance(0) >= data["created_at"]
        assert api.until_over("one")["task_id"] == data["task_id"]


def test_it_says_what_it_is(sim: Simulator) -> None:
    """Two origins on loopback, the virtual time and its speed; the environment leads a client there."""
    about = sim.control.get("/simulator").json()
    assert about["simulator"] is True
    assert about["media"] == "/simulator/media/"
    assert about["results_url"] == sim.results_url
    assert about["speed"] == 600
    assert sim.env()["KLING_BASE_URL"] == sim.base_url


def test_only_loopback_is_served(tmp_path: Path) -> None:
    """Any other address is refused before anything is bound."""
    for host in ("0.0.0.0", "192.168.1.1", "example.com"):
        with pytest.raises(ValueError, match=host):
            start_in_thread(SimulatorConfig(folder=tmp_path, host=host))
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    """The caller learns it from an exception, and a free port can be chosen."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            start_in_thread(SimulatorConfig(folder=tmp_path, port=port))
    with simulator(port=port) as sim:
        assert sim.base_url == f"http://127.0.0.1:{port}"


def test_it_stops_while_somebody_waits(tmp_path: Path) -> None:
    """An answer that is still to come does not keep it for longer than its grace of a second."""
    rule = {"endpoint": "list", "effect": {"delay_s": 60}}
    running = start_in_thread(SimulatorConfig(folder=tmp_path, faults=(rule,)))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.get, running.base_url + TASKS, timeout=30, trust_env=False)
        while httpx.get(f"{running.base_url}/simulator/faults", trust_env=False).json()[
            "fired"
        ] == [0]:
            assert not waiting.done()
        began = time.monotonic()
        running.stop()
        running.stop()
        assert time.monotonic() - began < 10
        assert isinstance(waiting.exception(), httpx.TransportError)


def test_it_serves_in_process(tmp_path: Path) -> None:
    """The same application answers through an ASGI transport, and a drop is a lost connection there too."""

    async def talk() -> None:
        provider = Provider(
            SimulatorConfig(folder=tmp_path, render="draft"), "http://results.invalid"
        )
        transport = httpx.ASGITransport(api_app(provider))
        headers = {"authorization": f"Bearer {provider.config.api_key}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://api.invalid", headers=headers
        ) as http:
            assert (await http.post(TASKS, json=order("one"))).status_code == 200
            rule = {"endpoint": "query", "effect": {"drop": "before"}}
            await http.post("/simulator/faults", json=[rule])
            with pytest.raises(ConnectionAbortedError):
                await http.get(f"{TASKS}/one")
            assert (await http.get("/simulator/ledger")).json()["billed"] == {"one": 1}
        provider.close()

    asyncio.run(talk())


def test_time_can_be_moved_forward_only(sim: Simulator) -> None:
    """A jump back, a negative speed and an unknown wish are refused with a sentence."""
    wishes: list[object] = [{"advance_s": -1}, {"speed": -1}, {"advance_s": "1"}, {"back": 1}, []]
    for wish in wishes:
        answer = sim.control.post("/simulator/clock", json=wish)
        assert answer.status_code == 400
        assert answer.json()["error"]


def test_virtual_time_never_goes_back(tmp_path: Path) -> None:
    """Not when the real clock is set back, not across a restart, not with another speed."""
    real = [1000.0]
    clock = VirtualClock(tmp_path / "clock.json", speed=10, real=lambda: real[0])
    assert clock.now() == 1_000_000
    real[0] += 1
    assert clock.now() == 1_010_000
    clock.advance(5)
    assert clock.now() == 1_015_000
    real[0] -= 500
    assert clock.now() == 1_015_000
    real[0] += 501
    again = VirtualClock(tmp_path / "clock.json", speed=1, real=lambda: real[0])
    assert again.now() == 1_025_000
    real[0] += 1
    assert again.now() == 1_026_000
    assert again.genesis == 1_000_000
