//! Reads what the hub needs of an entry without decoding its body: place, link, kind.
//!
//! Invariant: for every entry that `wire` encodes, the peek agrees with the whole decoding; no bytes make it panic.

use wire::Origin;
use wire::codec::{self, DecodeError, take_varint};
use wire::ids::{CommandId, Digest, Epoch, Seq};
use wire::time::Now;

/// The start of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peek<'a> {
    pub(crate) seq: Seq,
    pub(crate) prev: Digest,
    pub(crate) kind: Kind,
    /// The body, after the number of its kind.
    pub(crate) body: &'a [u8],
}

/// The kind of an entry; the numbers are part of the wire format of `EntryBody`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Decided,
    Acted,
    Event,
    /// A gap, or a kind that a newer agent has and this build does not.
    Other,
}

/// Reads the start of an entry's bytes.
pub(crate) fn peek(bytes: &[u8]) -> Result<Peek<'_>, DecodeError> {
    let mut rest = bytes;
    let seq = Seq(take_varint(&mut rest)?);
    let _mono = take_varint(&mut rest)?;
    let _wall = take_varint(&mut rest)?;
    let (prev, mut rest) = rest.split_first_chunk::<32>().ok_or(DecodeError::Short)?;
    let kind = match take_varint(&mut rest)? {
        0 => Kind::Decided,
        1 => Kind::Acted,
        2 => Kind::Event,
        _ => Kind::Other,
    };
    Ok(Peek {
        seq,
        prev: Digest(*prev),
        kind,
        body: rest,
    })
}

/// Which decision of the same agent an outcome belongs to, from the outcome's body.
pub(crate) fn acted_decision(body: &[u8]) -> Option<(Epoch, Seq)> {
    let mut rest = body;
    let length = usize::try_from(take_varint(&mut rest).ok()?).ok()?;
    let text = std::str::from_utf8(rest.get(..length)?).ok()?;
    let mut parts = text.rsplitn(3, '.');
    let seq = parts.next()?.parse().ok()?;
    let epoch = parts.next()?.parse().ok()?;
    Some((Epoch(epoch), Seq(seq)))
}

/// Which command wanted a decision, from the decision's body.
pub(crate) fn decided_command(body: &[u8]) -> Option<CommandId> {
    let ((_, origin), _rest) = codec::decode_prefix::<(Now, Origin)>(body).ok()?;
    origin.command()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::action::{Action, ActionKind, Outcome, OutcomeState};
    use wire::decision::{Authority, Decision, Inputs, Judgement, Verdict};
    use wire::entry::{Entry, EntryBody, Event, Gap};
    use wire::ids::{AgentId, DecisionId, HubEpoch};
    use wire::reading::DeviceId;
    use wire::time::{ClockState, Mono, Wall};
    use wire::{BundleRef, RawEntry};

    use super::*;

    fn raw(seq: u64, mono: u64, wall: i64, prev: [u8; 32], body: EntryBody) -> RawEntry {
        let at = Now {
            mono: Mono(mono),
            wall: Wall(wall),
        };
        Entry {
            seq: Seq(seq),
            at,
            prev: Digest(prev),
            body,
        }
        .encode()
    }

    fn decided(origin: Origin) -> EntryBody {
        let wanted = Action {
            target: DeviceId::node(),
            kind: ActionKind::Restart,
        };
        EntryBody::Decided(Box::new(Decision {
            inputs: Inputs {
                at: Now::default(),
                origin,
                wanted,
                bundle: BundleRef::NONE,
                policy_age_ms: 0,
                connected: true,
                clock: ClockState::Steady,
                journal_ok: true,
                held_by: None,
                hub_epoch: HubEpoch(1),
                readings: Vec::new(),
                facts: Vec::new(),
            },
            judgement: Judgement {
                verdict: Verdict::Deny,
                rule: "r".to_owned(),
                granted: None,
                retry_after_ms: None,
                valid_for_ms: 0,
                authority: Authority::Full,
                clauses: Vec::new(),
                rejected: Vec::new(),
            },
        }))
    }

    fn acted(decision: DecisionId) -> EntryBody {
        EntryBody::Acted(Outcome {
            decision,
            state: OutcomeState::Applied,
            before: None,
            after: None,
            probed: false,
            detail: "done".to_owned(),
        })
    }

    #[test]
    fn commands_are_found_in_the_decisions_that_they_caused() {
        let id = CommandId([7; 16]);
        let command = Origin::Command {
            id,
            who: "ann".to_owned(),
            reason: "test".to_owned(),
        };
        let rule = Origin::Rule { rule: "r".to_owned() };
        for (origin, expected) in [(command, Some(id)), (rule, None)] {
            let raw = raw(1, 2, 3, [0; 32], decided(origin));
            let peek = peek(&raw.bytes).expect("an entry");
            assert_eq!(peek.kind, Kind::Decided);
            assert_eq!(decided_command(peek.body), expected);
        }
    }

    proptest! {
        #[test]
        fn a_peek_agrees_with_the_whole_decoding(
            seq: u64, mono: u64, wall: i64, prev: [u8; 32], which in 0usize..4, epoch: u64
        ) {
            let agent = AgentId::new("edge-03").expect("valid");
            let decision = DecisionId { agent, epoch: Epoch(epoch), seq: Seq(seq) };
            let (body, kind) = match which {
                0 => (decided(Origin::Rule { rule: String::new() }), Kind::Decided),
                1 => (acted(decision), Kind::Acted),
                2 => (EntryBody::Event(Event::ClockStepped { by_ms: wall }), Kind::Event),
                _ => (EntryBody::Gap(Gap::Coarsened { interval_ms: 1 }), Kind::Other),
            };
            let raw = raw(seq, mono, wall, prev, body);
            let peek = peek(&raw.bytes).expect("an entry");
            prop_assert_eq!((peek.seq, peek.prev, peek.kind), (Seq(seq), Digest(prev), kind));
            if kind == Kind::Acted {
                prop_assert_eq!(acted_decision(peek.body), Some((Epoch(epoch), Seq(seq))));
            }
        }

        #[test]
        fn no_bytes_panic_the_peek(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(peek) = peek(&bytes) {
                let _ = (acted_decision(peek.body), decided_command(peek.body));
            }
        }
    }
}
