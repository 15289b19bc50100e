//! Which columns nodes, decisions, entries, policies and verifications have, and the signs before their words.
//!
//! A state is never told by colour alone: every word has a sign, the same as in the console.

mod integrations;
mod people;

use anstyle::{AnsiColor, Style};
use wire::api::{
    BrainScoresView, BrainView, DecisionView, DomainView, EntryView, GpuView, NodeState, NodeView, PlanView,
    PolicyView, VerifyView, WorkloadView,
};
use wire::kube::{ClusterView, DeploymentView, RolloutView};
use wire::reading::{Unit, human};
use wire::view::span;
use wire::{AgentId, PlanState, Verdict, Wall};

use crate::output::Row;
use crate::table::Cell;

/// What stands where nothing is known.
pub const UNKNOWN: &str = "—";

const fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(anstyle::Color::Ansi(colour)))
}

/// A good thing.
pub const GOOD: Style = colour(AnsiColor::Green);
/// The product at work without its hub: no error.
pub const ALONE: Style = colour(AnsiColor::Blue);
/// Reduced, clamped, held, stale.
pub const REDUCED: Style = colour(AnsiColor::Yellow);
/// Down, denied, failed.
pub const BAD: Style = colour(AnsiColor::Red);
/// Unknown, not reported, unimportant.
pub const FAINT: Style = Style::new().dimmed();

/// `● connected`, or what stands in front of it: that it is shut out, a quarantine, a hold.
pub fn state(node: &NodeView) -> Cell {
    if node.shut_out.is_some() {
        return Cell::styled("▲ shut out", BAD);
    }
    if node.quarantined.is_some() {
        return Cell::styled("▲ quarantined", BAD);
    }
    let via = (!node.path.is_empty()).then(|| node.path.iter().map(AgentId::as_str).collect::<Vec<_>>().join(", "));
    // A hub from before two could carry tells of one.
    let via = via.or_else(|| node.via.as_ref().map(AgentId::to_string));
    let via = via.map(|via| format!("● connected via {via}"));
    let (word, style) = match node.state {
        NodeState::Connected if via.is_some() => (via.as_deref().unwrap_or_default(), REDUCED),
        NodeState::Connected => ("● connected", GOOD),
        NodeState::WorkingAlone => ("◐ working alone", ALONE),
        NodeState::Unknown => ("○ unknown", FAINT),
        NodeState::Down => ("✕ down", BAD),
    };
    let found = match node.findings.len() {
        0 => String::new(),
        1 => " ▲ 1 finding".to_owned(),
        count => format!(" ▲ {count} findings"),
    };
    match node.held_by {
        Some(_) => Cell::styled(format!("{word} ⏸ held{found}"), REDUCED),
        None if found.is_empty() => Cell::styled(word, style),
        None => Cell::styled(format!("{word}{found}"), BAD),
    }
}

/// `✓ allowed` and its kin.
pub fn verdict(verdict: Verdict) -> Cell {
    let (text, style) = match verdict {
        Verdict::Allow => ("✓ allowed", GOOD),
        Verdict::Clamp => ("⇥ clamped", REDUCED),
        Verdict::Hold => ("⏳ held", REDUCED),
        Verdict::RequireApproval => ("? needs approval", REDUCED),
        Verdict::Deny => ("✕ denied", BAD),
    };
    Cell::styled(text, style)
}

fn outcome(word: &str) -> Cell {
    let style = match word {
        "verified" | "applied" => GOOD,
        "failed" | "not_verified" => BAD,
        "unknown" | "dropped" => REDUCED,
        _ => FAINT,
    };
    Cell::styled(word, style)
}

/// A value with its unit, or a dash.
pub fn value(value: Option<i64>, unit: Unit) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| human(value, unit))
}

/// A time as people read it: `2026-11-24 12:01:07Z`.
pub fn time(at: Wall) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(10..11), text.get(11..19)) {
        (Some(day), Some("T"), Some(clock)) => format!("{day} {clock}Z"),
        _ => text,
    }
}

/// `4.2 s ago`, or a dash.
pub fn ago(age_ms: Option<u64>) -> String {
    age_ms.map_or_else(
        || UNKNOWN.to_owned(),
        |age_ms| match age_ms {
            0..=999 => "now".to_owned(),
            longer => format!("{} ago", span(longer)),
        },
    )
}

/// `gpu0 sim 45 °C 80 W` for each GPU.
fn gpus(gpus: &[GpuView]) -> String {
    let one = |gpu: &GpuView| {
        let sim = if gpu.simulated { " sim" } else { "" };
        format!(
            "{}{sim} {} {}",
            gpu.id,
            value(gpu.temperature_mc, Unit::MilliCelsius),
            value(gpu.power_mw, Unit::Milliwatt)
        )
    };
    let all: Vec<String> = gpus.iter().map(one).collect();
    match all.is_empty() {
        true => UNKNOWN.to_owned(),
        false => all.join(", "),
    }
}

impl Row for NodeView {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["NAME", "SITE", "STATE", "SEEN", "POLICY", "AUTHORITY", "BACKLOG"];
        if wide {
            header.extend([
                "POLICY AGE",
                "EPOCH",
                "PRODUCED",
                "STORED",
                "CPU",
                "MEMORY",
                "CERTIFICATE ENDS",
                "VERSION",
                "LAST DECISION",
            ]);
        }
        header.push("GPUS");
        header
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells: Vec<Cell> = vec![
            self.name.as_str().into(),
            self.site.as_str().into(),
            state(self),
            ago(self.age_ms).into(),
            format!("gen {}", self.policy_generation).into(),
            self.authority.name().into(),
            match self.told_by {
                Some(_) => UNKNOWN.into(),
                None => self.backlog_entries.to_string().into(),
            },
        ];
        if wide {
            let last = self.last_decision.as_ref();
            cells.extend([
                span(self.policy_age_ms).into(),
                self.epoch.to_string().into(),
                self.produced.to_string().into(),
                self.stored.to_string().into(),
                value(self.cpu_used_bp, Unit::BasisPoints).into(),
                value(self.memory_used_bp, Unit::BasisPoints).into(),
                self.certificate_ends.map_or_else(|| UNKNOWN.to_owned(), time).into(),
                self.version.as_str().into(),
                Cell::from(last.map_or_else(
                    || UNKNOWN.to_owned(),
                    |last| format!("{} ({})", last.summary, last.outcome),
                )),
            ]);
        }
        cells.push(gpus(&self.gpus).into());
        cells
    }

    fn name(&self) -> String {
        self.name.to_string()
    }
}

impl Row for DecisionView {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["ID", "AT", "VERDICT", "RULE", "OUTCOME", "LINK"];
        if wide {
            header.extend(["DIGEST", "ACTION", "DETAIL"]);
        } else {
            header.push("ACTION");
        }
        header
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let link = match self.connected {
            true => Cell::from("connected"),
            false => Cell::styled("alone", ALONE),
        };
        let mut cells = vec![
            self.id.to_string().into(),
            time(self.at).into(),
            verdict(self.verdict),
            self.rule.as_str().into(),
            outcome(&self.outcome),
            link,
        ];
        if wide {
            cells.push(self.digest.short().into());
        }
        cells.push(self.summary.as_str().into());
        if wide {
            cells.push(self.outcome_detail.as_deref().unwrap_or_default().into());
        }
        cells
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Row for EntryView {
    fn header(wide: bool) -> Vec<&'static str> {
        match wide {
            true => vec!["ID", "AT", "KIND", "DIGEST", "PREVIOUS", "TEXT"],
            false => vec!["ID", "AT", "KIND", "TEXT"],
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells: Vec<Cell> = vec![self.name().into(), time(self.at).into(), self.kind.as_str().into()];
        if wide {
            cells.extend([self.digest.short().into(), self.prev.short().into()]);
        }
        cells.push(self.text.as_str().into());
        cells
    }

    fn name(&self) -> String {
        format!("{}.{}.{}", self.node, self.epoch, self.seq)
    }
}

impl Row for PolicyView {
    fn header(wide: bool) -> Vec<&'static str> {
        match wide {
            true => vec!["GENERATION", "NAME", "ACTIVE", "NODES", "RULES", "ISSUED", "DIGEST"],
            false => vec!["GENERATION", "NAME", "ACTIVE", "NODES", "RULES", "ISSUED"],
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let mut cells: Vec<Cell> = vec![
            self.generation.to_string().into(),
            self.name.as_str().into(),
            match self.active {
                true => Cell::styled("yes", GOOD),
                false => Cell::styled("no", FAINT),
            },
            format!("{}/{}", self.nodes, self.nodes_total).into(),
            self.rules.len().to_string().into(),
            time(self.issued_at).into(),
        ];
        if wide {
            cells.push(self.digest.short().into());
        }
        cells
    }

    fn name(&self) -> String {
        self.generation.to_string()
    }
}

impl Row for ClusterView {
    fn header(wide: bool) -> Vec<&'static str> {
        match wide {
            true => vec!["CLUSTER", "STATUS", "VERSION", "DETAIL", "KUBECONFIG", "MISSING VERBS"],
            false => vec!["CLUSTER", "STATUS", "VERSION", "DETAIL"],
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let status = match self.status.as_str() {
            "ready" => Cell::styled("● ready", GOOD),
            "not_ready" => Cell::styled("◐ not ready", REDUCED),
            "forbidden" => Cell::styled("▲ forbidden", REDUCED),
            _ => Cell::styled("✕ unreachable", BAD),
        };
        let mut cells = vec![
            self.name.clone().into(),
            status,
            self.version.clone().into(),
            self.detail.clone().into(),
        ];
        if wide {
            cells.push(self.kubeconfig.clone().into());
            cells.push(self.missing_permissions.join(", ").into());
        }
        cells
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for DeploymentView {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["DEPLOYMENT", "STATUS", "READY", "IMAGE", "REVISION", "DRIFT"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let style = match self.status.as_str() {
            "running" => GOOD,
            "failed" => BAD,
            _ => REDUCED,
        };
        vec![
            self.name().into(),
            Cell::styled(self.status.clone(), style),
            format!("{}/{}", self.ready, self.wanted).into(),
            self.image.clone().into(),
            self.revision
                .map_or_else(|| UNKNOWN.to_owned(), |revision| revision.to_string())
                .into(),
            Cell::styled(self.drift.join("; "), REDUCED),
        ]
    }

    fn name(&self) -> String {
        format!("{}/{}/{}", self.id.cluster, self.id.namespace, self.id.name)
    }
}

impl Row for RolloutView {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["ROLLOUT", "DEPLOYMENT", "IMAGE", "PHASE", "STEP", "READY", "WHY"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let phase = match self.phase.as_str() {
            "completed" => Cell::styled("✓ completed", GOOD),
            "rolled_back" => Cell::styled("↩ rolled back", REDUCED),
            "failed" | "rollback_failed" => Cell::styled(format!("✕ {}", self.phase.replace('_', " ")), BAD),
            phase => Cell::styled(format!("● {}", phase.replace('_', " ")), ALONE),
        };
        vec![
            self.id.clone().into(),
            self.target.to_string().into(),
            format!("{} → {}", self.from_image, self.image).into(),
            phase,
            format!("{}/{}", self.step, self.steps).into(),
            format!("{} of {}", self.ready, self.start_replicas).into(),
            self.why.clone().into(),
        ]
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

impl Row for BrainView {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec![
            "BRAIN",
            "VERB",
            "TIER",
            "SINCE",
            "OUTCOMES",
            "CAME TRUE",
            "CALIBRATION ERROR",
            "NEXT TIER",
        ];
        if wide {
            header.extend(["MODEL", "BRIER", "SKILL", "CENSORED", "LAST CHANGE"]);
        }
        header
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let style = match self.tier.as_str() {
            "T3" => GOOD,
            "T2" => ALONE,
            "T1" => REDUCED,
            _ => FAINT,
        };
        let share = |of: &dyn Fn(&BrainScoresView) -> Option<i64>| {
            let value = self.scores.as_ref().and_then(of);
            value.map_or(UNKNOWN.to_owned(), |bp| human(bp, Unit::BasisPoints))
        };
        let outcomes = self.scores.as_ref().map_or(0, |scores| scores.outcomes);
        let mut cells = vec![
            Cell::from(self.brain.clone()),
            Cell::from(self.verb.clone()),
            Cell::styled(format!("{} {}", self.tier, self.tier_name), style),
            Cell::from(time(self.since)),
            Cell::from(outcomes.to_string()),
            Cell::from(share(&|scores| Some(scores.base_rate_bp))),
            Cell::from(share(&|scores| Some(scores.calibration_error_bp))),
            Cell::from(self.next_tier_lacks.clone().unwrap_or_default()),
        ];
        if wide {
            let last = self.changes.last();
            cells.extend([
                Cell::from(self.model.clone()),
                Cell::from(share(&|scores| Some(scores.brier_bp))),
                Cell::from(share(&|scores| scores.skill_bp)),
                Cell::from(self.censored.to_string()),
                Cell::from(last.map_or(String::new(), |change| change.why.clone())),
            ]);
        }
        cells
    }

    fn name(&self) -> String {
        format!("{}/{}", self.brain, self.verb)
    }
}

impl Row for PlanView {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["ID", "STATE", "SINCE", "BY", "FIRST STEP", "DETAIL"];
        if wide {
            header.extend(["ENDS", "REASON"]);
        }
        header
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let style = match self.state {
            PlanState::Completed => GOOD,
            PlanState::Held | PlanState::AwaitingApproval | PlanState::RollingBack | PlanState::RolledBack => REDUCED,
            PlanState::Failed | PlanState::Rejected | PlanState::RollbackFailed | PlanState::Expired => BAD,
            PlanState::Cancelled | PlanState::Superseded => FAINT,
            _ => ALONE,
        };
        let more = match self.steps.len() {
            0 | 1 => String::new(),
            count => format!(" (+{})", count - 1),
        };
        let first = self.steps.first().map_or(UNKNOWN, |step| step.summary.as_str());
        let mut cells = vec![
            Cell::from(self.id.to_string()),
            Cell::styled(self.state.name(), style),
            Cell::from(time(self.since)),
            Cell::from(self.source.clone()),
            Cell::from(format!("{first}{more}")),
            Cell::from(self.detail.clone()),
        ];
        if wide {
            cells.extend([Cell::from(time(self.not_after)), Cell::from(self.reason.clone())]);
        }
        cells
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Row for DomainView {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec![
            "DOMAIN",
            "MEMBERS",
            "UNHEALTHY",
            "TOUCHED",
            "NEWLY FAULTY",
            "IN WINDOW",
            "TURN",
            "WAITING",
        ]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let counted = |number: i64, style: Style| match number {
            0 => Cell::from("0"),
            number => Cell::styled(number.to_string(), style),
        };
        let turns = self.turns.iter().map(|turn| {
            let acts = if turn.acts { " acts" } else { "" };
            let held = turn.for_ms.map(|ms| format!(" {}", span(ms))).unwrap_or_default();
            format!("{}{acts}{held}", turn.node)
        });
        let turns: Vec<String> = turns.collect();
        let waiting: Vec<&str> = self.waiting.iter().map(wire::AgentId::as_str).collect();
        let windows = self.windows.iter().map(|window| {
            let free = window.free_in_ms.map(|ms| format!(", next in {}", span(ms)));
            let free = free.unwrap_or_default();
            format!(
                "{} {}/{} in {}{free}",
                window.rule,
                window.given,
                window.limit,
                span(window.window_ms)
            )
        });
        let windows: Vec<String> = windows.collect();
        let list = |items: String| match items.is_empty() {
            true => UNKNOWN.to_owned(),
            false => items,
        };
        vec![
            Row::name(self).into(),
            self.members.to_string().into(),
            counted(self.unhealthy, BAD),
            counted(self.in_flight, REDUCED),
            counted(self.newly_faulty, BAD),
            match self.windows.iter().any(|window| window.given >= window.limit) {
                true => Cell::styled(windows.join("; "), REDUCED),
                false => list(windows.join("; ")).into(),
            },
            match self.gives_turns {
                true => list(turns.join(", ")).into(),
                false => Cell::styled("only tried out", FAINT),
            },
            list(waiting.join(", ")).into(),
        ]
    }

    fn name(&self) -> String {
        let domain = self
            .domain
            .split_once(':')
            .map_or(self.domain.as_str(), |(name, _)| name);
        match self.domain == "fleet" {
            true => domain.to_owned(),
            false => format!("{domain}:{}", self.value),
        }
    }
}

/// Whether a node's journal is wholly at the hub.
pub fn whole(row: &VerifyView) -> bool {
    row.missing == 0 && row.double == 0 && row.chain_ok && row.produced == row.stored.saturating_add(row.removed)
}

impl Row for VerifyView {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["NODE", "PRODUCED", "STORED", "MISSING", "DOUBLE", "CHAIN"];
        if wide {
            header.extend(["EPOCHS", "AS OF"]);
        }
        header.push("DETAIL");
        header
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let alarming = |number: u64| match number {
            0 => Cell::from("0"),
            number => Cell::styled(number.to_string(), BAD),
        };
        let mut cells: Vec<Cell> = vec![
            self.node.as_str().into(),
            self.produced.to_string().into(),
            self.stored.to_string().into(),
            alarming(self.missing),
            alarming(self.double),
            match self.chain_ok {
                true => Cell::styled("✓ whole", GOOD),
                false => Cell::styled("✕ broken", BAD),
            },
        ];
        if wide {
            let epoch = |epoch: &wire::api::EpochView| format!("{}:{}-{}", epoch.epoch, epoch.first, epoch.last);
            let epochs: Vec<String> = self.epochs.iter().map(epoch).collect();
            cells.push(epochs.join(" ").into());
            cells.push(self.as_of.map_or_else(|| UNKNOWN.to_owned(), time).into());
        }
        cells.push(self.detail.as_str().into());
        cells
    }

    fn name(&self) -> String {
        self.node.to_string()
    }
}

impl Row for GpuView {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec![
            "ID",
            "MODEL",
            "TEMPERATURE",
            "POWER",
            "CAP",
            "USED",
            "MAY BE CAPPED TO",
            "PROFILE",
        ]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let sim = if self.simulated { " [sim]" } else { "" };
        let caps = |(min, max): (u32, u32)| {
            let watts = |mw: u32| value(Some(i64::from(mw)), Unit::Milliwatt);
            match min <= max {
                true => format!("{}..={}", watts(min), watts(max)).into(),
                false => Cell::styled("nothing", BAD),
            }
        };
        vec![
            self.id.as_str().into(),
            format!("{}{sim}", self.model).into(),
            value(self.temperature_mc, Unit::MilliCelsius).into(),
            value(self.power_mw, Unit::Milliwatt).into(),
            value(self.power_cap_mw, Unit::Milliwatt).into(),
            value(self.used_bp, Unit::BasisPoints).into(),
            self.power_caps_mw.map_or_else(|| UNKNOWN.into(), caps),
            self.profile.as_deref().unwrap_or(UNKNOWN).into(),
        ]
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Row for WorkloadView {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["ID", "PID", "MEMORY", "CPU", "RESTARTS"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        vec![
            self.id.as_str().into(),
            value(self.pid, Unit::Count).into(),
            value(self.memory_bytes, Unit::Bytes).into(),
            value(self.cpu_bp, Unit::BasisPoints).into(),
            value(self.restarts, Unit::Count).into(),
        ]
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well_and_impossible_ones_are_shown_as_they_are() {
        assert_eq!(time(Wall(0)), "1970-01-01 00:00:00Z");
        assert_eq!(time(Wall(i64::MAX)), format!("unix-ms:{}", i64::MAX));
        assert_eq!(ago(Some(400)), "now");
        assert_eq!(ago(Some(61_000)), "1 min 1 s ago");
        assert_eq!(ago(None), "—");
    }
}
