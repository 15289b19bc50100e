//! Checkpoints of the hub's own journal: signs where it ends, and finds out from one that an agent gives back that the journal is not
//! the one that was signed.
//!
//! Agents keep the newest checkpoint and give it back when they connect ([`wire::checkpoint`]). The journal's entry of that place is
//! read by the shell ([`Effect::Compare`]); where it is missing or another one, this hub was restored from an older copy or its store
//! was rewritten. That is recorded once as a [`JournalBreak`], and the chain goes on in a new epoch, so that nobody takes what follows
//! for a continuation. Whether a person accepts the break is theirs to say; it is never forgotten.
//!
//! Invariants: only a durable end is signed; a break is recorded only on this hub's own signature; of one epoch there is one break.
//! Read next: `restore.rs` (what a hello alone reveals), `journal.rs` (the chain).

use std::collections::VecDeque;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use wire::bundle::KeyRing;
use wire::change::{Caller, ChangeRecord, Via};
use wire::entry::ChainHead;
use wire::frame::Frame;
use wire::ids::{AgentId, DecisionId, Seq};
use wire::time::{Now, Wall};
use wire::{Checkpoint, SignedCheckpoint};

use crate::cx::Cx;
use crate::documents::{Document, Documents, Unreadable};
use crate::effect::{Answer, Effect};
use crate::fleet::Place;
use crate::hub::{Hub, recover};
use crate::input::{Recovered, SessionId};
use crate::timers::Timer;

/// Checkpoints that are known to be right, so that a fleet that comes back is compared with memory: two hours of them.
const RECENT: usize = 128;
/// Comparisons that the shell may have open: a fleet that comes back gives mostly the same ones, and what is not compared now is
/// given back at the next session.
const MOST_COMPARED: usize = 64;

/// How checkpoints are made.
#[derive(Debug, Clone, Default)]
pub struct Checkpointing {
    /// Signs them; without it none are made, and none that come back are believed.
    pub key: Option<SigningKey>,
    /// Time between two.
    pub every: Duration,
}

/// What the store holds at the place that a checkpoint names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The very entry.
    Same,
    /// Another one.
    Other,
    /// None: the epoch ends before, at this entry.
    Ends(Seq),
    /// Nobody knows: it was removed to make room, or the store could not be read.
    Unread,
}

/// The hub's journal is not the one that this hub once signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalBreak {
    /// The place of the checkpoint, and the entry that stood there.
    pub claimed: ChainHead,
    /// When the checkpoint was signed.
    pub signed_at: Wall,
    /// The first entry that is known to be missing or another one.
    pub first_bad: Seq,
    /// Entries are missing; else another one is there.
    pub is_cut: bool,
    /// Who gave the checkpoint back first.
    pub witness: AgentId,
    /// When.
    pub found_at: Wall,
    /// Who has accepted it, why and when.
    pub accepted: Option<(String, String, Wall)>,
}

impl Document for JournalBreak {
    const KIND: &'static str = "journal-break";
    const VERSION: u8 = 1;
    /// One for each epoch that was broken: each is a restore.
    const MOST_LIVE: usize = 256;

    fn id(&self) -> String {
        self.claimed.epoch.0.to_string()
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl JournalBreak {
    /// The first entry that is known to be missing or another one.
    pub fn first_bad(&self) -> DecisionId {
        DecisionId {
            agent: AgentId::hub(),
            epoch: self.claimed.epoch,
            seq: self.first_bad,
        }
    }

    /// What happened, for people.
    pub fn text(&self) -> String {
        let (last, at, witness) = (self.claimed.seq, self.signed_at, &self.witness);
        let what = match self.is_cut {
            true => format!("entries {} to {last} are missing", self.first_bad),
            false => format!("entry {last} is not the one that was signed"),
        };
        format!(
            "epoch {}: {what}, although `{witness}` has this hub's signature of {at} under them: the hub was restored from an older \
             copy, or its journal was rewritten",
            self.claimed.epoch
        )
    }
}

/// The subject.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    newest: Option<(Checkpoint, SignedCheckpoint)>,
    /// Ends that were signed by this process or compared with the store.
    right: VecDeque<ChainHead>,
    /// What the shell compares: whose word, and what it says.
    compared: Vec<(AgentId, Checkpoint)>,
    breaks: Documents<JournalBreak>,
}

impl Checkpoints {
    pub(crate) fn recovered(recovered: &mut Recovered) -> Result<Self, Unreadable> {
        Ok(Self {
            breaks: recover::<JournalBreak, _>(recovered, Documents::recovered)?,
            ..Self::default()
        })
    }

    pub(crate) fn settle(&mut self, id: &str, revision: u64, is_stored: bool) {
        self.breaks.settle(id, revision, is_stored);
    }

    fn is_right(&mut self, head: ChainHead) {
        if self.right.contains(&head) {
            return;
        }
        if self.right.len() == RECENT {
            self.right.pop_front();
        }
        self.right.push_back(head);
    }

    /// Whether a break that is known says as much already.
    fn is_known(&self, head: ChainHead) -> bool {
        let known = self.breaks.get(&head.epoch.0.to_string());
        known.is_some_and(|known| (known.first_bad..=known.claimed.seq).contains(&head.seq))
    }

    fn record(&mut self, found: JournalBreak, cx: &mut Cx<'_>) {
        let earlier = self.breaks.get(&found.id()).cloned();
        let found = match earlier {
            // The widest that anybody can prove.
            Some(earlier) => JournalBreak {
                claimed: if found.claimed.seq > earlier.claimed.seq {
                    found.claimed
                } else {
                    earlier.claimed
                },
                first_bad: found.first_bad.min(earlier.first_bad),
                accepted: None,
                ..earlier
            },
            None => found,
        };
        let caller = Caller::new(found.witness.as_str(), Via::Agent);
        let change = ChangeRecord::new(caller, "audit.contradict", format!("entry/{}", found.first_bad()))
            .because(found.text())
            .with("claimed", found.claimed.seq)
            .with("digest", found.claimed.digest);
        // A full list is a hub that was restored 256 times: the entry says it all the same.
        let put = self.breaks.put(found, 0);
        cx.record(change);
        if let Ok(put) = put {
            cx.put(put);
        }
    }

    /// A person has seen every break and goes on from here.
    pub(crate) fn accept(&mut self, request: u64, caller: Caller, reason: &str, cx: &mut Cx<'_>) {
        let open = self.breaks.iter().filter(|found| found.accepted.is_none());
        let open: Vec<JournalBreak> = open.cloned().collect();
        if open.is_empty() {
            let reason = "no break of the journal is open: `sentinel audit verify` shows how it stands".to_owned();
            return cx.reply(request, Answer::Rejected { reason });
        }
        let mut change = ChangeRecord::new(caller.clone(), "audit.accept", "audit").because(reason);
        for found in open {
            change = change.with("first_bad", found.first_bad());
            let accepted = Some((caller.name.clone(), reason.to_owned(), cx.now.wall));
            match self.breaks.put(JournalBreak { accepted, ..found }, 0) {
                Ok(put) => cx.put(put),
                Err(error) => {
                    let reason = error.to_string();
                    return cx.reply(request, Answer::Rejected { reason });
                }
            }
        }
        cx.record(change);
        cx.reply_when_stored(request, Answer::Noted);
    }
}

impl Hub {
    /// The newest checkpoint, if one was made since the start.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoints.newest.as_ref().map(|(checkpoint, _)| checkpoint)
    }

    /// Every stored break of the hub's own journal, oldest first.
    pub fn journal_breaks(&self) -> impl Iterator<Item = &JournalBreak> {
        self.checkpoints.breaks.iter_stored()
    }

    /// It is time for the next checkpoint.
    pub(crate) fn checkpoint_time(&mut self, now: Now) {
        let Some(key) = self.settings.checkpoints.key.clone() else {
            return;
        };
        self.timers
            .set(now.mono + self.settings.checkpoints.every, Timer::Checkpoint);
        let head = self.journal.stored_head();
        let is_signed = self.checkpoint().is_some_and(|newest| newest.head == head);
        if head.seq == Seq(0) || is_signed || self.stopping {
            return;
        }
        let checkpoint = Checkpoint {
            head,
            at: now.wall,
            trust_domain: self.settings.trust_domain.clone(),
        };
        let signed = SignedCheckpoint::sign(&checkpoint, &key);
        self.checkpoints.is_right(head);
        self.checkpoints.newest = Some((checkpoint, signed));
        for session in self.sessions.ids() {
            self.offer_checkpoint(session);
        }
    }

    /// Gives a welcomed session the newest checkpoint to keep.
    pub(crate) fn offer_checkpoint(&mut self, session: SessionId) {
        if let Some((_, signed)) = &self.checkpoints.newest
            && self.sessions.live(session).is_some()
        {
            let frame = Frame::Checkpoint(signed.clone());
            self.send(session, frame);
        }
    }

    /// An agent gives back the checkpoint that it kept.
    pub(crate) fn given_back(&mut self, place: Place, signed: &SignedCheckpoint) {
        let Some(key) = &self.settings.checkpoints.key else {
            return;
        };
        let ring = KeyRing::single(key.verifying_key().to_bytes());
        // Of a hub before this one, or nobody's: it proves nothing about this journal.
        let Ok(checkpoint) = signed.open(&ring, &self.settings.trust_domain) else {
            return;
        };
        let head = checkpoint.head;
        let mine = &mut self.checkpoints;
        let is_asked = mine.compared.iter().any(|(_, asked)| asked.head == head);
        if mine.right.contains(&head) || mine.is_known(head) || is_asked || mine.compared.len() >= MOST_COMPARED {
            return;
        }
        let agent = self.fleet.node(place).id().clone();
        mine.compared.push((agent, checkpoint));
        self.effects.push_back(Effect::Compare { head });
    }

    /// The shell has looked.
    pub(crate) fn compared(&mut self, head: ChainHead, held: Held, now: Now) {
        let compared = &mut self.checkpoints.compared;
        let Some(at) = compared.iter().position(|(_, asked)| asked.head == head) else {
            return;
        };
        let (witness, checkpoint) = compared.swap_remove(at);
        let first_bad = match held {
            Held::Same => return self.checkpoints.is_right(head),
            Held::Unread => return,
            Held::Ends(last) => last.next(),
            Held::Other => head.seq,
        };
        let found = JournalBreak {
            claimed: head,
            signed_at: checkpoint.at,
            first_bad,
            is_cut: held != Held::Other,
            witness,
            found_at: now.wall,
            accepted: None,
        };
        // What follows is no continuation of what was signed.
        if head.epoch.0 >= self.wanted.hub_epoch.0 {
            self.raise_above(wire::ids::HubEpoch(head.epoch.0), now);
        }
        let (checkpoints, mut cx) = self.checkpoints_cx(now);
        checkpoints.record(found, &mut cx);
    }
}
