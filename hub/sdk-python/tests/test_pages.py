"""The Python that README and handbook show is run as it stands there, against a real hub."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import PATIENCE, Running

import sentinel_client

REPOSITORY = pathlib.Path(__file__).parents[3]
#: Page, and a part of the last line that it prints: one goes on for ever.
PAGES = [("hub/sdk-python/README.md", ""), ("hub/handbook/src/how-to/call-the-api.md", "dev.sentinel.")]


@pytest.mark.parametrize(("page", "last"), PAGES)
def test_what_a_page_shows_runs(hub: Running, node: str, page: str, last: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)
    assert blocks, page
    for block in blocks:
        program = block.replace("/var/lib/sentinel-hub/admin.json", str(hub.context)).replace("edge-03", node)
        package = pathlib.Path(sentinel_client.__file__).parents[1]
        running = subprocess.Popen(
            [sys.executable, "-B", "-u", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(package)},
        )
        assert running.stdout and running.stderr
        if last:
            assert any(last in line for line in running.stdout), running.stderr.read()
            running.terminate()
        said, failed = running.communicate(timeout=PATIENCE)
        assert last or (running.returncode == 0 and said), failed
