"""A remediation agent's side of Sentinel's contract, in one file and with the standard library alone.

    client = Client("https://hub:7443", token, ca_file="ca.pem")
    client.register(name="my-agent", version="1.0.0", fixers=["my-fixer"])
    while task := client.lease(wait_ms=5000):
        ...
        client.finish(task, "no_fixer", "nothing here repairs this")

`python3 sentinel_remediation.py conformance URL TOKEN CA_FILE` tries the contract against a hub that has one queued task.
Messages are those of `hub-remediation-sdk` (contract.rs); unknown members are ignored.
"""

import json
import ssl
import sys
import urllib.error
import urllib.request
import uuid

PROTOCOL = 1


class Fenced(Exception):
    """Another lease has the task now: drop the work."""


class Refused(Exception):
    """The hub refuses: status and what it says."""

    def __init__(self, status, detail):
        super().__init__(f"the hub answers {status}: {detail}")
        self.status = status
        self.detail = detail


class Client:
    """A hub, and the right to ask it."""

    def __init__(self, url, token, ca_file=None, timeout_s=60):
        self.base = url.rstrip("/") + "/agent/v1"
        self.token = token
        self.timeout_s = timeout_s
        self.agent = f"python/{uuid.uuid4()}"
        self.context = ssl.create_default_context(cafile=ca_file) if url.startswith("https") else None

    def register(self, name, version, fixers, public_key="", sandbox="L0"):
        """Says who this agent is; gives the limits that the hub holds it to."""
        return self._json("POST", "/register", {
            "name": name, "version": version, "instance": self.agent, "public_key": public_key, "sandbox": sandbox,
            "fixers": fixers, "protocol": [PROTOCOL],
        })

    def lease(self, wait_ms=0):
        """The next task, or None when nothing waits."""
        return self._json("POST", "/lease", {"agent": self.agent, "wait_ms": wait_ms})

    def extend(self, task, phase, progress=0):
        """Keeps the lease. Raises Fenced when it is lost."""
        return self._json("POST", f"/tasks/{task['task']}/extend", {**_right(task), "phase": phase, "progress": progress})

    def log(self, task):
        """Bytes of the failed step's log."""
        return self._bytes("GET", f"/tasks/{task['task']}/log")

    def source(self, task):
        """Bytes of the tree at the failing commit, a gzipped tar."""
        return self._bytes("GET", f"/tasks/{task['task']}/source")

    def propose(self, task, category, tool, message, certificate, before):
        """Hands in a patch with its certificate; `before` is a list of (path, text)."""
        return self._json("POST", f"/tasks/{task['task']}/propose", {
            **_right(task), "category": category, "tool": tool, "message": message, "certificate": certificate, "before": before,
        })

    def finish(self, task, code, reason, retry=False):
        """Ends without a patch."""
        return self._json("POST", f"/tasks/{task['task']}/finish", {**_right(task), "code": code, "reason": reason, "retry": retry})

    def _json(self, method, path, body):
        answer = self._bytes(method, path, json.dumps(body).encode())
        return json.loads(answer) if answer else None

    def _bytes(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.base + path, data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s, context=self.context) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")
            if error.code == 409 and "fenced" in detail:
                raise Fenced(detail) from None
            raise Refused(error.code, detail) from None


def _right(task):
    return {"lease": task["lease"], "epoch": task["epoch"]}


def conformance(url, token, ca_file):
    """Register, lease, extend, write with a wrong lease and a wrong epoch, finish, write after the end; one line a step."""
    def step(name, holds):
        print(("ok   " if holds else "FAIL ") + name)
        return holds

    def is_fenced(call):
        try:
            call()
        except Fenced:
            return True
        return False

    client = Client(url, token, ca_file)
    stranger = Client(url, "srt_wrong", ca_file)
    try:
        stranger.lease()
        refused = False
    except Refused as error:
        refused = error.status == 401
    good = step("a wrong token is refused", refused)
    limits = client.register("conformance", "1.0.0", [])
    good &= step("registration gives the protocol and the limits", limits["protocol"] == PROTOCOL and limits["lease_ms"] > 0)
    task = client.lease(wait_ms=5000)
    if not step("a queued task is leased", task is not None):
        return False
    good &= step("the lease is extended", client.extend(task, "reproducing", 100)["lease_ms"] > 0)
    good &= step("a wrong lease is fenced", is_fenced(lambda: client.extend({**task, "lease": "0" * 32}, "x")))
    good &= step("a wrong epoch is fenced", is_fenced(lambda: client.finish({**task, "epoch": task["epoch"] + 1}, "x", "x")))
    ended = client.finish(task, "no_fixer", "conformance run")
    good &= step("the task ends with its code", ended["state"] == "no_fix" and ended["codes"] == ["no_fixer"])
    good &= step("a write after the end is fenced", is_fenced(lambda: client.finish(task, "no_fixer", "again")))
    return good


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[1] != "conformance":
        sys.exit(__doc__)
    sys.exit(0 if conformance(*sys.argv[2:5]) else 1)
