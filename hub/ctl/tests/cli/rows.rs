//! Rows of the contract with plain values, for tests to change.

use serde_json::{Value, json};
use wire::api::{DecisionView, EntryView, NodeView, PolicyView, VerifyView};
use wire::{Digest, Verdict};

/// A connected node with one simulated GPU and one workload.
pub fn node(name: &str) -> NodeView {
    serde_json::from_value(json!({
        "name": name, "site": "site-a", "state": "connected",
        "state_since": "2026-11-24T12:00:00.000Z", "last_seen": "2026-11-24T12:01:07.250Z", "age_seconds": 0.4,
        "policy_generation": 1, "policy_digest": Digest::of(b"bundle"), "policy_age_seconds": 4,
        "backlog_entries": 0, "labels": { "rack": "r7" }, "authority": "full", "next_authority_in_seconds": 21_596,
        "certificate_ends": "2026-11-25T12:00:00.000Z", "rejoins": 0, "clock": "steady",
        "held_by": null, "quarantined": null, "epoch": 1, "produced": 9, "stored": 9,
        "journal_bytes": 1_048_576, "journal_limit_bytes": 67_108_864, "journal_ok": true,
        "unrecorded_actions": 0, "telemetry_interval_seconds": 1, "version": "0.1.0",
        "gpus": [{
            "id": "gpu0", "model": "Sim L40S", "simulated": true, "temperature_celsius": 45,
            "power_watts": 80, "power_cap_watts": 350, "used_ratio": 0.1, "power_caps_watts": [100, 350], "profile": "nvidia-l40s",
        }],
        "workloads": [{
            "id": "workload:train", "pid": 4711, "memory_bytes": 20_971_520, "cpu_ratio": 0.015, "restarts": 0,
        }],
        "cpu_used_ratio": 0.125, "memory_used_ratio": 0.34, "last_decision": null,
    }))
    .expect("a node")
}

/// A node that is cut off and has made three entries since.
pub fn alone(name: &str) -> NodeView {
    NodeView {
        state: wire::api::NodeState::WorkingAlone,
        age_ms: Some(134_000),
        backlog_entries: 3,
        produced: wire::Seq(12),
        ..node(name)
    }
}

/// A decision that capped gpu0 while the node was alone.
pub fn decision(id: &str) -> DecisionView {
    let id: wire::DecisionId = id.parse().expect("an id");
    serde_json::from_value(json!({
        "id": id, "node": id.agent, "epoch": id.epoch, "seq": id.seq,
        "at": "2026-11-24T12:01:07.250Z", "action": "power_cap", "target": "gpu0",
        "summary": "gpu0 power_cap to 220 W", "verdict": Verdict::Allow, "rule": "hot-gpu",
        "connected": false, "digest": Digest::of(id.to_string().as_bytes()), "outcome": "verified",
    }))
    .expect("a decision")
}

/// The same decision with its inputs and judgement.
pub fn detail(id: &str) -> Value {
    json!({
        "summary": decision(id), "prev": Digest::ZERO, "outcomes": [], "explanation": "because\n",
        "decision": {
            "inputs": {
                "at": {"mono": 1, "wall": "2026-11-24T12:01:07.250Z"}, "origin": {"rule": {"rule": "hot-gpu"}},
                "wanted": {"target": "gpu0", "kind": {"power_cap": {"milliwatts": 220_000}}},
                "bundle": {"generation": 1, "digest": Digest::of(b"bundle")}, "policy_age_ms": 4_000,
                "connected": false, "clock": "steady", "journal_ok": true, "held_by": null, "hub_epoch": 1,
                "readings": [], "facts": [],
            },
            "judgement": {
                "verdict": "allow", "rule": "hot-gpu",
                "granted": {"target": "gpu0", "kind": {"power_cap": {"milliwatts": 220_000}}},
                "retry_after_ms": null, "valid_for_ms": 10_000, "authority": "full", "clauses": [], "rejected": [],
            },
        },
    })
}

/// An entry of the journal.
pub fn entry(node: &str, seq: u64) -> EntryView {
    serde_json::from_value(json!({
        "node": node, "epoch": 1, "seq": seq, "at": format!("2026-11-24T12:00:0{seq}.000Z"), "kind": "event",
        "text": "started, version 0.1.0", "digest": Digest::of(b"entry"), "prev": Digest::ZERO,
    }))
    .expect("an entry")
}

/// A published bundle.
pub fn policy(generation: u64, active: bool) -> PolicyView {
    serde_json::from_value(json!({
        "generation": generation, "digest": Digest::of(b"bundle"), "name": "demo",
        "issued_at": "2026-11-24T12:00:00.000Z", "active": active, "nodes": 5, "nodes_total": 6,
        "rules": [{"id": "hot-gpu", "kind": "threshold", "mode": "enforce", "text": "caps a hot GPU"}],
        "text": "bundle: demo\n",
    }))
    .expect("a policy")
}

/// A node's journal against the store.
pub fn verify(node: &str, produced: u64, stored: u64) -> VerifyView {
    serde_json::from_value(json!({
        "node": node, "produced": produced, "stored": stored, "missing": produced - stored, "double": 0,
        "chain_ok": true, "detail": "", "as_of": null,
        "epochs": [{
            "epoch": 1, "first": 1, "last": stored, "count": stored,
            "head": Digest::of(&stored.to_le_bytes()), "chain_ok": true,
        }],
    }))
    .expect("a row")
}
