"""A reference InfraMind: the contract `sentinel.v1` from the brain's side, in another language and another process.

It is what a team that writes a brain reads first. It serves the hub that calls it: takes telemetry, makes a plan for each GPU that is about to
be too hot, and counts each outcome once. With `--manner` it misbehaves on purpose, for the drills of bad brains.

    python3 -m venv venv && venv/bin/pip install grpcio grpcio-tools
    venv/bin/python inframind.py --proto ../../../wire/inframind/proto --listen 127.0.0.1:0

Prints `ready HOST:PORT` once it can be called, then one JSON object a line for everything that it hears.
"""

import argparse
import importlib
import json
import pathlib
import sys
import tempfile
import threading
import time
from concurrent import futures

import grpc
from grpc_tools import protoc

# Plans of a flood.
FLOOD = 10_000
MANNERS = ("good", "flood", "nan", "past", "unknown-verb", "huge", "silent", "refuses")


def load_contract(proto: pathlib.Path):
    """Compiles the contract into a folder of its own, so that nothing generated is kept in the repository."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sentinel-inframind-"))
    file = "sentinel/v1/decision_service.proto"
    wrong = protoc.main(["protoc", f"-I{proto}", f"--python_out={folder}", f"--grpc_python_out={folder}", file])
    if wrong:
        raise SystemExit(f"cannot compile {proto / file}")
    sys.path.insert(0, str(folder))
    base = "sentinel.v1.decision_service_pb2"
    return importlib.import_module(base), importlib.import_module(base + "_grpc")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Mind:
    """What it knows and what it was told. Every method may be called from several threads."""

    def __init__(self, pb, manner: str, hot: int, watts: int):
        # A GPU that is hotter than this, in thousandths of a degree, gets a plan to cap it to so many watts.
        self.pb, self.manner, self.hot, self.watts = pb, manner, hot, watts
        self.lock = threading.Condition()
        self.batches: set[str] = set()
        self.outcomes: set[str] = set()
        self.planned: set[tuple[str, str]] = set()
        self.plans: list = []

    def tell(self, **what):
        print(json.dumps(what), flush=True)

    def heard(self, batch) -> int:
        """Takes a batch; the same one again is counted once. Returns how many points were new."""
        with self.lock:
            if batch.batch_id in self.batches:
                return 0
            self.batches.add(batch.batch_id)
            for point in batch.points:
                key = (point.labels.get("node", ""), point.labels.get("device", ""))
                if point.name == "gpu.temperature" and point.exact > self.hot and key not in self.planned:
                    self.planned.add(key)
                    self.plans.extend(self.make(*key))
            self.lock.notify_all()
        self.tell(heard="batch", id=batch.batch_id, points=len(batch.points), cluster=batch.cluster_id)
        return len(batch.points)

    def make(self, node: str, device: str) -> list:
        plan = self.cap(node, device, "1")
        match self.manner:
            case "flood":
                return [self.cap(node, device, str(number)) for number in range(FLOOD)]
            case "nan":
                plan.prediction.confidence = float("nan")
            case "past":
                plan.not_after = now_ms() - 60_000
            case "unknown-verb":
                plan.decisions[0].verb = "melt"
            case "huge":
                plan.reason = "x" * (8 * 1024 * 1024)
            case "silent":
                return []
        return [plan]

    def cap(self, node: str, device: str, number: str):
        pb, name = self.pb, f"{node}/{device}/{number}"
        effect = pb.ExpectedEffect(metric="gpu.temperature", delta=-3_000, within_ms=120_000)
        decision = pb.Decision(verb="power_cap", ttl=600, expected=effect)
        decision.target.update(node=node, device=device)
        decision.params.update(watts=str(self.watts))
        prediction = pb.Prediction(
            prediction_id=name, **{"class": "gpu-overheat"}, confidence=0.9, horizon_ms=600_000, model_version="reference-1"
        )
        return pb.ActionPlan(
            plan_id=name,
            decisions=[decision],
            source="inframind",
            created_at=now_ms(),
            reason=f"{device} of {node} is above {self.hot // 1000} degrees and rises",
            prediction=prediction,
        )

    def next_plan(self, sent: int, alive):
        """The plan after `sent` of them; waits for it, and is None once the hub has hung up."""
        with self.lock:
            while len(self.plans) <= sent:
                if not alive():
                    return None
                self.lock.wait(timeout=0.2)
            return self.plans[sent]


def servicer(grpc_module, pb, mind: Mind):
    class Service(grpc_module.DecisionServiceServicer):
        def SubmitTelemetry(self, batches, context):
            if mind.manner == "refuses":
                return pb.Ack(success=False, message="this brain takes no telemetry today")
            points = sum(mind.heard(batch) for batch in batches)
            return pb.Ack(success=True, message=f"{points} points")

        def GetActionPlan(self, ref, context):
            with mind.lock:
                return mind.plans[-1] if mind.plans else pb.ActionPlan()

        def StreamActionPlans(self, request, context):
            sent = 0
            while (plan := mind.next_plan(sent, context.is_active)) is not None:
                sent += 1
                yield plan

        def AckPlan(self, ack, context):
            mind.tell(heard="ack", plan=ack.plan_id, success=ack.success, message=ack.message, hub_plan=ack.hub_plan_id)
            return pb.Ack(success=True)

        def GetCapabilities(self, request, context):
            return pb.Capabilities(contract=2, verbs=["power_cap"])

        def ReportOutcome(self, outcome, context):
            with mind.lock:
                again = outcome.outcome_id in mind.outcomes
                mind.outcomes.add(outcome.outcome_id)
            label = pb.PlanOutcome.Label.Name(outcome.label)
            mind.tell(heard="outcome", id=outcome.outcome_id, again=again, plan=outcome.plan_id,
                      prediction=outcome.prediction_id, state=outcome.state, label=label)
            return pb.Ack(success=True)

    return Service()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proto", type=pathlib.Path, required=True, help="folder that holds sentinel/v1")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--manner", choices=MANNERS, default="good")
    parser.add_argument("--hot", type=int, default=80, help="degrees above which a GPU gets a plan")
    parser.add_argument("--watts", type=int, default=280, help="what the plan caps it to")
    parser.add_argument("--certificate", type=pathlib.Path, help="PEM; with --key and --ca, mutual TLS")
    parser.add_argument("--key", type=pathlib.Path)
    parser.add_argument("--ca", type=pathlib.Path)
    args = parser.parse_args()
    pb, grpc_module = load_contract(args.proto)
    mind = Mind(pb, args.manner, args.hot * 1000, args.watts)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    grpc_module.add_DecisionServiceServicer_to_server(servicer(grpc_module, pb, mind), server)
    host = args.listen.rsplit(":", 1)[0]
    if args.certificate:
        pair = (args.key.read_bytes(), args.certificate.read_bytes())
        credentials = grpc.ssl_server_credentials([pair], args.ca.read_bytes(), require_client_auth=True)
        port = server.add_secure_port(args.listen, credentials)
    else:
        port = server.add_insecure_port(args.listen)
    server.start()
    print(f"ready {host}:{port}", flush=True)
    # Ends with whoever started it: its standard input is closed then.
    sys.stdin.read()
    server.stop(grace=0).wait()


if __name__ == "__main__":
    main()
