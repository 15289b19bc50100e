"""People and scripts at a hub, for Locust: `locust -f testbed/bench/locustfile.py --headless -u 20 -r 5 -t 1m`.

`SENTINEL_CONTEXT` names the context file (address, token and CA of the hub); a token that may only read is enough. Every user reads what
the console opens with, follows the pages of a list, and asks for what changed by `ETag`. Reads only: nothing is changed by it.
"""

import json
import os
import pathlib
import ssl
import tempfile

from locust import FastHttpUser, between, events, task


def _context() -> dict[str, str]:
    path = os.environ.get("SENTINEL_CONTEXT")
    if not path:
        raise SystemExit("SENTINEL_CONTEXT is not set: it names a context file, for example the hub's admin.json")
    return json.loads(pathlib.Path(path).read_text())


CONTEXT = _context()


def _trust() -> ssl.SSLContext:
    """The context's CA as the only root."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(CONTEXT["ca_pem"])
        file.flush()
        return ssl.create_default_context(cafile=file.name)


@events.quitting.add_listener
def _fail_if_anything_failed(environment, **_) -> None:
    """Exit status 1 when one answer in a thousand or more was wrong, so that a pipeline notices."""
    environment.process_exit_code = int(environment.stats.total.fail_ratio > 0.001)


class Person(FastHttpUser):
    """Somebody with the console open, or a script that does the same."""

    host = CONTEXT["hub"]
    wait_time = between(0.05, 0.5)
    # Locust's default believes any certificate.
    insecure = False

    def __init__(self, environment) -> None:
        self.ssl_context_factory = _trust
        super().__init__(environment)
        self.headers = {"Authorization": f"Bearer {CONTEXT['token']}"}
        self.tag = ""

    def _get(self, path: str, name: str | None = None, headers: dict[str, str] | None = None):
        return self.client.get(path, name=name or path, headers=self.headers | (headers or {}))

    @task(5)
    def fleet(self) -> None:
        self._get("/api/v1/nodes?limit=50")

    @task(3)
    def decisions(self) -> None:
        """Two pages, as somebody scrolls."""
        first = self._get("/api/v1/decisions?limit=50").json()
        if cursor := first.get("next_cursor"):
            self._get(f"/api/v1/decisions?limit=50&before={cursor}", name="/api/v1/decisions?before=…")

    @task(2)
    def unchanged(self) -> None:
        """What was read is asked for again; 304 is the answer as long as nothing changed."""
        headers = {"If-None-Match": self.tag} if self.tag else {}
        with self.client.get("/api/v1/policies", headers=self.headers | headers, catch_response=True) as answer:
            if answer.status_code in (200, 304):
                self.tag = answer.headers.get("etag") or self.tag
                answer.success()

    @task(1)
    def audits(self) -> None:
        self._get("/api/v1/audits?limit=50")

    @task(1)
    def metrics(self) -> None:
        self._get("/metrics")
