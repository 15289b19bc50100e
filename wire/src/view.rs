//! Turns stored entries into the views that people and scripts read, the same on a hub and on a node.
//!
//! Pure, and no opinion: what an explanation says is decided by `policy::explain`, which the callers add.
//!
//! Invariant: the same entry bytes give the same view, whoever made it.
//! Read next: [`crate::api`] (the views), [`crate::entry`] (what they are made from).

use std::fmt::{self, Display};

use crate::action::{Origin, Outcome};
use crate::api::{DecisionDetail, DecisionView, EntryView, OutcomeView};
use crate::codec::DecodeError;
use crate::decision::Decision;
use crate::entry::{Entry, EntryBody, Event, Gap, RawEntry};
use crate::ids::{AgentId, DecisionId, Digest, Epoch, Seq};
use crate::time::Now;

/// Why stored bytes have no such view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The bytes are not an entry.
    #[error("entry {seq} cannot be read")]
    Unreadable {
        /// Which.
        seq: Seq,
        /// How it fails.
        #[source]
        cause: DecodeError,
    },
    /// It is another kind of entry.
    #[error("entry {seq} is {found}, not {wanted}")]
    OtherKind {
        /// Which.
        seq: Seq,
        /// Its kind.
        found: &'static str,
        /// The kind that was asked for.
        wanted: &'static str,
    },
}

/// One decision with everything that came of it so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Which decision.
    pub id: DecisionId,
    /// When its entry was made.
    pub at: Now,
    /// Digest of the entry before it.
    pub prev: Digest,
    /// Digest of its entry's bytes.
    pub digest: Digest,
    /// Inputs and judgement.
    pub decision: Decision,
    /// What came of it, oldest first.
    pub outcomes: Vec<(Now, Outcome)>,
}

impl Story {
    /// Reads a decision's entry and its outcomes' entries (oldest first).
    pub fn read<'a>(
        agent: &AgentId,
        epoch: Epoch,
        decision: &RawEntry,
        outcomes: impl IntoIterator<Item = &'a RawEntry>,
    ) -> Result<Self, ViewError> {
        let entry = read(decision)?;
        let EntryBody::Decided(body) = entry.body else {
            return Err(ViewError::OtherKind {
                seq: decision.seq,
                found: entry.body.kind(),
                wanted: "a decision",
            });
        };
        Ok(Self {
            id: DecisionId {
                agent: agent.clone(),
                epoch,
                seq: entry.seq,
            },
            at: entry.at,
            prev: entry.prev,
            digest: decision.digest,
            decision: *body,
            outcomes: outcomes.into_iter().map(read_outcome).collect::<Result<_, _>>()?,
        })
    }

    /// The outcomes alone, as `policy::explain` takes them.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.iter().map(|(_, outcome)| outcome.clone()).collect()
    }

    /// Its row in a list.
    pub fn view(&self) -> DecisionView {
        let judgement = &self.decision.judgement;
        let wanted = &self.decision.inputs.wanted;
        let shown = judgement.granted.as_ref().unwrap_or(wanted);
        let latest = self.outcomes.last().map(|(_, outcome)| outcome);
        DecisionView {
            id: self.id.clone(),
            node: self.id.agent.clone(),
            epoch: self.id.epoch,
            seq: self.id.seq,
            at: self.at.wall,
            action: wanted.kind.name().to_owned(),
            target: wanted.target.clone(),
            summary: shown.to_string(),
            verdict: judgement.verdict,
            rule: judgement.rule.clone(),
            connected: self.decision.inputs.connected,
            digest: self.digest,
            outcome: match latest {
                Some(outcome) => outcome.state.name(),
                None if judgement.verdict.runs() => "pending",
                None => "none",
            }
            .to_owned(),
            outcome_detail: latest
                .map(|outcome| outcome.detail.clone())
                .filter(|detail| !detail.is_empty()),
        }
    }

    /// Everything about it; `explanation` is what `policy::explain` says.
    pub fn detail(&self, explanation: String) -> DecisionDetail {
        DecisionDetail {
            summary: self.view(),
            prev: self.prev,
            decision: self.decision.clone(),
            outcomes: self
                .outcomes
                .iter()
                .map(|(at, outcome)| outcome_view(*at, outcome))
                .collect(),
            explanation,
        }
    }
}

/// A decision's row in a list, from its entry and its outcomes' entries (oldest first).
pub fn decision_view<'a>(
    agent: &AgentId,
    epoch: Epoch,
    decision: &RawEntry,
    outcomes: impl IntoIterator<Item = &'a RawEntry>,
) -> Result<DecisionView, ViewError> {
    Story::read(agent, epoch, decision, outcomes).map(|story| story.view())
}

/// An outcome, and when its entry was made.
pub fn outcome_view(at: Now, outcome: &Outcome) -> OutcomeView {
    OutcomeView {
        at: at.wall,
        state: outcome.state.name().to_owned(),
        before: outcome.before,
        after: outcome.after,
        probed: outcome.probed,
        detail: outcome.detail.clone(),
    }
}

/// Reads an outcome's entry: when it was made, and the outcome.
pub fn read_outcome(raw: &RawEntry) -> Result<(Now, Outcome), ViewError> {
    let entry = read(raw)?;
    match entry.body {
        EntryBody::Acted(outcome) => Ok((entry.at, outcome)),
        other => Err(ViewError::OtherKind {
            seq: raw.seq,
            found: other.kind(),
            wanted: "an outcome",
        }),
    }
}

/// An entry's row in a list, with one line of text for people.
pub fn entry_view(agent: &AgentId, epoch: Epoch, raw: &RawEntry) -> Result<EntryView, ViewError> {
    let entry = read(raw)?;
    Ok(EntryView {
        node: agent.clone(),
        epoch,
        seq: entry.seq,
        at: entry.at.wall,
        kind: entry.body.kind().to_owned(),
        text: text(&entry.body),
        digest: raw.digest,
        prev: entry.prev,
    })
}

/// One line of text for people, on what an entry says.
pub fn text(body: &EntryBody) -> String {
    match body {
        EntryBody::Decided(decision) => decided(decision),
        EntryBody::Acted(outcome) => acted(outcome),
        EntryBody::Event(event) => event_text(event),
        EntryBody::Gap(gap) => gap_text(gap),
        EntryBody::Changed(change) => change.text(),
    }
}

fn read(raw: &RawEntry) -> Result<Entry, ViewError> {
    raw.decode()
        .map_err(|cause| ViewError::Unreadable { seq: raw.seq, cause })
}

fn decided(decision: &Decision) -> String {
    let judgement = &decision.judgement;
    let action = judgement.granted.as_ref().unwrap_or(&decision.inputs.wanted);
    format!(
        "{}: {action}, by rule {}, wanted by {}",
        judgement.verdict.name(),
        judgement.rule,
        WantedBy(&decision.inputs.origin),
    )
}

struct WantedBy<'a>(&'a Origin);

impl Display for WantedBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Origin::Rule { rule } => write!(f, "rule {rule}"),
            Origin::Cleared { rule } => write!(f, "rule {rule}, which cleared"),
            Origin::Command { who, reason, .. } => write!(f, "{who} through the hub: {reason}"),
            Origin::Local { who, reason } => write!(f, "{who} at the node: {reason}"),
            Origin::Fault { code } => write!(f, "the ladder against faults, because of {code}"),
            Origin::Plan {
                plan,
                step,
                undo,
                who,
                reason,
                ..
            } => {
                let back = if *undo { "taking back " } else { "" };
                write!(
                    f,
                    "{back}step {} of plan {plan} by {who}: {reason}",
                    u32::from(*step) + 1
                )
            }
        }
    }
}

fn acted(outcome: &Outcome) -> String {
    let probed = if outcome.probed { ", found by a probe" } else { "" };
    format!(
        "{} {}{probed}{}",
        outcome.decision,
        outcome.state.name(),
        Because(&outcome.detail)
    )
}

/// `: text`, or nothing when there is no text.
struct Because<'a>(&'a str);

impl Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

fn event_text(event: &Event) -> String {
    match event {
        Event::Started { version, clean: true } => format!("started, version {version}"),
        Event::Started { version, clean: false } => format!("started after an unclean stop, version {version}"),
        Event::Connected {
            hub_epoch,
            away_ms: None,
        } => format!("connected to hub epoch {hub_epoch} for the first time"),
        Event::Connected {
            hub_epoch,
            away_ms: Some(away_ms),
        } => format!("connected to hub epoch {hub_epoch} after {}", span(*away_ms)),
        Event::Disconnected { reason } => format!("disconnected{}", Because(reason)),
        Event::BundleActivated { bundle, before } => match before {
            Some(before) => format!(
                "policy generation {} became active, before it {}",
                bundle.generation, before.generation
            ),
            None => format!("policy generation {} became active, the first", bundle.generation),
        },
        Event::BundleRefused { generation, reason } => {
            format!("policy generation {generation} refused{}", Because(reason))
        }
        Event::Held { who, reason } => format!("held by {who}{}", Because(reason)),
        Event::Released { who, reason } => format!("released by {who}{}", Because(reason)),
        Event::CommandRefused { id, reason } => format!("command {id} refused{}", Because(reason)),
        Event::Probe { answering, detail } => format!(
            "GPU probe {}{}",
            if *answering { "answers" } else { "does not answer" },
            Because(detail)
        ),
        Event::ClockStepped { by_ms } => format!(
            "wall clock stepped {} by {}",
            if *by_ms < 0 { "back" } else { "forward" },
            span(by_ms.unsigned_abs())
        ),
        Event::AuthorityChanged { to, policy_age_ms } => {
            format!("authority is now {}, policy is {} old", to.name(), span(*policy_age_ms))
        }
        Event::HubRestored {
            hub_epoch,
            acked,
            holds,
        } => format!(
            "hub epoch {hub_epoch} was restored from an older copy: it once acknowledged {acked} and holds {holds}"
        ),
        Event::Unrecorded { actions, detail } => format!(
            "{actions} protective actions ran without a record before them{}",
            Because(detail)
        ),
        Event::Workload { name, pid, detail } => match pid {
            Some(pid) => format!("workload {name} started, pid {pid}{}", Because(detail)),
            None => format!("workload {name} ended{}", Because(detail)),
        },
        Event::Notified { message } => format!("notice: {message}"),
        Event::RolesTrusted { version } => format!("role document {version} is trusted from here on"),
        Event::RolesRefused { reason } => format!("role documents refused{}", Because(reason)),
        Event::RoleEnded { role } => format!(
            "the {} role has ended: only protective rules act until a newer role document comes",
            role.name()
        ),
        Event::BreakGlassOpened {
            number,
            approvers,
            kinds,
            targets,
            left_ms,
            reason,
        } => {
            let on = match targets.as_slice() {
                [] => String::new(),
                targets => format!(" on {}", targets.join(", ")),
            };
            format!(
                "break-glass token {number} opened by {} for {}{on}, for {}{}",
                approvers.join(" and "),
                kinds.join(", "),
                span(*left_ms),
                Because(reason)
            )
        }
        Event::BreakGlassClosed { number, who, reason } => {
            format!("break-glass token {number} closed by {who}{}", Because(reason))
        }
        Event::Finding { part, why } => match why {
            Some(why) => format!("found: {why}"),
            None => format!("{part} is as it should be again"),
        },
        Event::Fault {
            device,
            code,
            severity,
            meaning,
            next,
            evidence,
            count,
        } => {
            let times = if *count > 1 {
                format!(", {count} times")
            } else {
                String::new()
            };
            format!(
                "{} fault on {device}: {code}{times}: {meaning}; next: {}{}",
                severity.name(),
                next.advice(),
                Because(evidence)
            )
        }
        Event::FaultOver { device } => format!("{device} is well again"),
    }
}

fn gap_text(gap: &Gap) -> String {
    match gap {
        Gap::Telemetry { from, to, reason } => {
            format!("telemetry blocks {from} to {to} were dropped{}", Because(reason))
        }
        Gap::Coarsened { interval_ms } => {
            format!("telemetry is now sampled every {interval_ms} ms")
        }
        Gap::Epoch {
            epoch,
            last_known,
            acked,
            reason,
        } => format!(
            "epoch {epoch} ended{}; it had at least {last_known} entries, {acked} of them acknowledged",
            Because(reason)
        ),
    }
}

/// A span as people read it, its two largest units: `1 h 2 min`, `850 ms`.
pub fn span(ms: u64) -> String {
    let (seconds, minutes, hours, days) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => format!("{ms} ms"),
        (0, 0, 0, s) => match ms % 1_000 / 100 {
            0 => format!("{s} s"),
            tenths => format!("{s}.{tenths} s"),
        },
        (0, 0, m, s) => pair(m, "min", s % 60, "s"),
        (0, h, m, _) => pair(h, "h", m % 60, "min"),
        (d, h, _, _) => pair(d, "d", h % 24, "h"),
    }
}

fn pair(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {large_unit}"),
        small => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Action, ActionKind, OutcomeState};
    use crate::bundle::BundleRef;
    use crate::decision::{Authority, Inputs, Judgement, Verdict};
    use crate::ids::HubEpoch;
    use crate::reading::DeviceId;
    use crate::time::{ClockState, Mono, Wall};

    fn agent() -> AgentId {
        AgentId::new("edge-03").expect("valid")
    }

    fn entry(seq: u64, body: EntryBody) -> RawEntry {
        Entry {
            seq: Seq(seq),
            at: Now {
                mono: Mono(seq),
                wall: Wall(seq as i64),
            },
            prev: Digest::ZERO,
            body,
        }
        .encode()
    }

    fn decision(verdict: Verdict) -> EntryBody {
        let wanted = Action {
            target: DeviceId::gpu(0),
            kind: ActionKind::PowerCap { milliwatts: 200_000 },
        };
        EntryBody::Decided(Box::new(Decision {
            inputs: Inputs {
                at: Now::default(),
                origin: Origin::Rule {
                    rule: "hot-gpu".to_owned(),
                },
                wanted: wanted.clone(),
                bundle: BundleRef::NONE,
                policy_age_ms: 0,
                connected: false,
                clock: ClockState::Steady,
                journal_ok: true,
                held_by: None,
                hub_epoch: HubEpoch(1),
                readings: Vec::new(),
                facts: Vec::new(),
            },
            judgement: Judgement {
                verdict,
                rule: "envelope".to_owned(),
                granted: verdict.runs().then_some(Action {
                    kind: ActionKind::PowerCap { milliwatts: 220_000 },
                    ..wanted
                }),
                retry_after_ms: None,
                valid_for_ms: 1,
                authority: Authority::Full,
                clauses: Vec::new(),
                rejected: Vec::new(),
            },
        }))
    }

    fn outcome(seq: u64, state: OutcomeState) -> RawEntry {
        entry(
            seq,
            EntryBody::Acted(Outcome {
                decision: DecisionId {
                    agent: agent(),
                    epoch: Epoch(1),
                    seq: Seq(4),
                },
                state,
                before: Some(350_000),
                after: Some(220_000),
                probed: false,
                detail: "350 W before".to_owned(),
            }),
        )
    }

    fn check(verdict: Verdict, states: &[OutcomeState], expected: (&str, &str)) {
        let outcomes: Vec<RawEntry> = (5..).zip(states).map(|(seq, state)| outcome(seq, *state)).collect();
        let raw = entry(4, decision(verdict));
        let view = decision_view(&agent(), Epoch(1), &raw, &outcomes).expect("a decision");
        assert_eq!((view.outcome.as_str(), view.summary.as_str()), expected);
        assert_eq!(view.id.to_string(), "edge-03.1.4");
        assert_eq!(view.digest, raw.digest);
        assert_eq!((view.action.as_str(), view.connected), ("power_cap", false));
        let detail = Story::read(&agent(), Epoch(1), &raw, &outcomes)
            .expect("a decision")
            .detail("because".to_owned());
        assert_eq!(detail.summary, view);
        assert_eq!(detail.outcomes.len(), states.len());
    }

    #[test]
    fn a_decision_shows_its_latest_outcome() {
        use OutcomeState::{Applied, Verified};
        check(Verdict::Clamp, &[], ("pending", "gpu0 power_cap to 220 W"));
        check(Verdict::Clamp, &[Applied], ("applied", "gpu0 power_cap to 220 W"));
        check(
            Verdict::Clamp,
            &[Applied, Verified],
            ("verified", "gpu0 power_cap to 220 W"),
        );
        check(Verdict::Deny, &[], ("none", "gpu0 power_cap to 200 W"));
    }

    #[test]
    fn other_kinds_of_entries_are_no_decisions() {
        let raw = outcome(5, OutcomeState::Applied);
        let error = decision_view(&agent(), Epoch(1), &raw, []).expect_err("an outcome");
        assert_eq!(error.to_string(), "entry 5 is outcome, not a decision");
        let torn = RawEntry {
            bytes: raw.bytes[..9].to_vec(),
            ..raw
        };
        let error = entry_view(&agent(), Epoch(1), &torn).expect_err("torn");
        assert_eq!(error.to_string(), "entry 5 cannot be read");
    }

    #[test]
    fn every_entry_has_one_line_for_people() {
        let event = |event| EntryBody::Event(event);
        for (body, expected) in [
            (
                decision(Verdict::Deny),
                "deny: gpu0 power_cap to 200 W, by rule envelope, wanted by rule hot-gpu",
            ),
            (
                event(Event::Connected {
                    hub_epoch: HubEpoch(3),
                    away_ms: Some(95_000),
                }),
                "connected to hub epoch 3 after 1 min 35 s",
            ),
            (
                event(Event::Held {
                    who: "ann".to_owned(),
                    reason: String::new(),
                }),
                "held by ann",
            ),
            (
                event(Event::BreakGlassOpened {
                    number: 7,
                    approvers: vec!["key a".to_owned(), "key b".to_owned()],
                    kinds: vec!["restart".to_owned(), "scale".to_owned()],
                    targets: vec!["gpu".to_owned()],
                    left_ms: 3_600_000,
                    reason: "fire".to_owned(),
                }),
                "break-glass token 7 opened by key a and key b for restart, scale on gpu, for 1 h: fire",
            ),
            (
                event(Event::BreakGlassClosed {
                    number: 7,
                    who: "ann".to_owned(),
                    reason: "out".to_owned(),
                }),
                "break-glass token 7 closed by ann: out",
            ),
            (
                event(Event::Fault {
                    device: DeviceId::gpu(1),
                    code: "xid 48".to_owned(),
                    severity: crate::fault::Severity::High,
                    meaning: "a double-bit memory error".to_owned(),
                    next: crate::fault::NextStep::DrainAndReset,
                    evidence: "NVRM: Xid (PCI:0000:17:00): 48".to_owned(),
                    count: 3,
                }),
                "high fault on gpu1: xid 48, 3 times: a double-bit memory error; next: move its work away, then reset the GPU: \
                 NVRM: Xid (PCI:0000:17:00): 48",
            ),
            (
                event(Event::FaultOver {
                    device: DeviceId::gpu(1),
                }),
                "gpu1 is well again",
            ),
            (
                event(Event::ClockStepped { by_ms: -90_000_000 }),
                "wall clock stepped back by 1 d 1 h",
            ),
            (
                event(Event::Workload {
                    name: "train".to_owned(),
                    pid: Some(7),
                    detail: "restarted".to_owned(),
                }),
                "workload train started, pid 7: restarted",
            ),
            (
                EntryBody::Gap(Gap::Telemetry {
                    from: Seq(2),
                    to: Seq(9),
                    reason: "disk full".to_owned(),
                }),
                "telemetry blocks 2 to 9 were dropped: disk full",
            ),
        ] {
            let view = entry_view(&agent(), Epoch(1), &entry(9, body)).expect("whole");
            assert_eq!(view.text, expected);
            assert!(!view.text.contains('\n'));
        }
    }

    #[test]
    fn spans_read_as_their_two_largest_units() {
        for (ms, expected) in [
            (0, "0 ms"),
            (850, "850 ms"),
            (1_500, "1.5 s"),
            (60_000, "1 min"),
            (3_723_000, "1 h 2 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(span(ms), expected);
        }
    }
}
