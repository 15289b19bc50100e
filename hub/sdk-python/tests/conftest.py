"""A real hub in a folder of its own, and one real agent that has joined it."""

import json
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sentinel_client import Sentinel

PROGRAMS = pathlib.Path(os.environ.get("SENTINEL_PROGRAMS", pathlib.Path(__file__).parents[3] / "target" / "release"))
PATIENCE = 60.0


@dataclass
class Running:
    """A hub's process and its context file."""

    folder: pathlib.Path
    port: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def context(self) -> pathlib.Path:
        return self.folder / "hub" / "admin.json"

    def start(self) -> None:
        command: list[str | pathlib.Path] = [PROGRAMS / "sentinel-hub", "run", "--state", self.folder / "hub", "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout
        ready = self.process.stdout.readline()
        assert ready.startswith("ready https://"), ready
        self.port = int(ready.rsplit(":", 1)[1])

    def stop(self) -> None:
        assert self.process
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("sentinel"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def node(hub: Running) -> Iterator[str]:
    """The name of a node that is connected."""
    state = hub.folder / "edge-01"
    with Sentinel.from_context(hub.context) as client:
        token = client.create_token(site="lab", name="edge-01")
    words = token.join_line.split()
    words[0] = str(PROGRAMS / words[0])
    subprocess.run([*words, "--state", state], check=True, capture_output=True)
    agent = subprocess.Popen([PROGRAMS / "sentinel-agent", "run", "--state", state], stderr=subprocess.DEVNULL)
    with Sentinel.from_context(hub.context) as client:
        deadline = time.monotonic() + PATIENCE
        while client.node("edge-01").state != "connected":
            assert time.monotonic() < deadline, json.dumps(client.node("edge-01").raw)
    yield "edge-01"
    agent.terminate()
    agent.wait(PATIENCE)
    shutil.rmtree(state)
