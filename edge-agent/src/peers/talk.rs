//! One session with a neighbour: who it is, how both stand, and what either lacks.
//!
//! Gives what this agent has accepted itself and the neighbour lacks; takes what the neighbour gives to the core, which checks it as
//! if the hub had sent it. A neighbour that has a session with the hub is given nothing: the hub does that.
//!
//! Invariants: nothing is taken from a neighbour before it has said who it is and of which site; what it may say and give in a minute
//! is bounded.
//! Read next: `edge-agent/core/src/mesh/shared.rs` (what is given, and what it is worth).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use edge_agent_core::{Bound, GIFTS_A_MINUTE, Input, Shared};
use policy::Site;
use tokio::sync::{mpsc, watch};
use wire::AgentId;
use wire::decision::Authority;
use wire::frame::{Frame, Held, PeerKey, PeerPath, PeerState, Reach, Uplink};
use wire::time::Mono;
use wire_transport::{CloseCode, Event, Met, PeerHandle, Sender};

use super::site::lock;
use super::{Said, Task};
use crate::clock::boot_ms;
use crate::identity::{Identity, NeighbourKeys, is_shown};

/// What a neighbour may say of itself in a minute: ten changes a second.
const WORDS_A_MINUTE: u32 = 600;
/// What came from a neighbour was given to others by that one, too: within this time they have said so.
const PASS_ON_AFTER: Duration = Duration::from_secs(1);
/// A neighbour's QUIC acknowledges what is said to it within milliseconds, and repeats on either side cost a second or two.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// The same thing is given to one neighbour once in this time, whatever it says to lack.
const GIVE_AGAIN: Duration = Duration::from_secs(30);

/// What a neighbour said, in which session.
pub struct News {
    pub peer: AgentId,
    pub number: u64,
    pub state: PeerState,
    pub path: PeerPath,
}

/// One session with a neighbour.
pub struct Talk {
    number: u64,
    site: String,
    said: watch::Receiver<Said>,
    shared: watch::Receiver<Arc<Shared>>,
    identity: Identity,
    keys: Arc<Mutex<NeighbourKeys>>,
    news: mpsc::Sender<News>,
    inputs: mpsc::Sender<Input>,
    /// How the neighbour stands; unknown before its first word.
    theirs: Option<PeerState>,
    path: PeerPath,
    is_proven: bool,
    /// What this end said last.
    told: Option<(Said, Held)>,
    /// When the neighbour gets what it lacks, and what it got last.
    give_at: Option<Instant>,
    given: Option<(Held, Instant)>,
    /// When something must have come from the neighbour, and how many packets had come when this end last said something.
    answer_by: Option<(Instant, u64)>,
    gifts: Bound,
    words: Bound,
}

/// What went wrong so that the session has to end.
struct Over(&'static str);

impl Talk {
    pub(super) fn new(task: &Task, number: u64) -> Self {
        Self {
            number,
            site: task.site.clone(),
            said: task.said.subscribe(),
            shared: task.shared.clone(),
            identity: task.certificates.borrow().clone(),
            keys: task.keys.clone(),
            news: task.news.0.clone(),
            inputs: task.inputs.clone(),
            theirs: None,
            path: PeerPath {
                via: None,
                hops: 0,
                uplink: Uplink::Unmetered,
                hub_rtt_us: 0,
                hub_away: false,
                policy_age_ms: 0,
                authority: Authority::Full,
            },
            is_proven: false,
            told: None,
            give_at: None,
            given: None,
            answer_by: None,
            gifts: Bound::new(GIFTS_A_MINUTE),
            words: Bound::new(WORDS_A_MINUTE),
        }
    }

    /// Talks until the session ends.
    pub async fn run(mut self, mut met: Met) {
        let sender = met.session.sender();
        self.is_proven = met.is_fresh;
        let _ = sender.send(&Frame::PeerKey(self.identity.peer_key(&met.binding)));
        self.say(&sender, &met.handle);
        loop {
            let (give_at, answer_by) = (self.give_at, self.answer_by.map(|(at, _)| at));
            tokio::select! {
                event = met.session.recv() => match event {
                    Event::Frame(frame) => match self.heard(frame, &met).await {
                        Ok(()) => {}
                        Err(Over(reason)) => {
                            tracing::warn!(peer = %met.agent, reason, "a neighbour is sent away");
                            sender.abort(CloseCode::Protocol, reason);
                        }
                    },
                    // A later program may ask; it is passed over.
                    Event::Asked { .. } => {}
                    Event::Ended(_) => return,
                },
                Ok(()) = self.said.changed() => self.say(&sender, &met.handle),
                Ok(()) = self.shared.changed() => {
                    self.say(&sender, &met.handle);
                    self.plan_to_give();
                }
                () = until(give_at) => self.give(&sender),
                () = until(answer_by) => {
                    let before = self.answer_by.take().map_or(0, |(_, before)| before);
                    if met.handle.heard_packets() == before {
                        sender.abort(CloseCode::Done, "you do not answer");
                    }
                }
            }
        }
    }

    async fn heard(&mut self, frame: Frame, met: &Met) -> Result<(), Over> {
        match frame {
            Frame::PeerKey(key) => self.shown(&key, met).await,
            // Whose certificate is old and who has not shown its key is nobody yet.
            _ if !self.is_proven => Ok(()),
            Frame::PeerPath(path) => {
                self.path = path;
                self.count_word()
            }
            Frame::PeerState(state) => {
                self.count_word()?;
                if !Site::are_beside(&self.shared.borrow().sites, &self.site, &state.site) {
                    return Err(Over("you are of another site"));
                }
                self.theirs = Some(state.clone());
                self.plan_to_give();
                let news = News {
                    peer: met.agent.clone(),
                    number: self.number,
                    state,
                    path: self.path.clone(),
                };
                // An error: the task has ended, and closes every session.
                let _ = self.news.send(news).await;
                Ok(())
            }
            // Only who has said of which site it is may pass something on.
            Frame::Roles(_) | Frame::Bundle(_) | Frame::Beacon(_) if self.theirs.is_some() => {
                if !self.gifts.takes(Mono(boot_ms())) {
                    return Err(Over("you pass on too much"));
                }
                // An error: the agent stops.
                let _ = self.inputs.send(Input::Passed { frame }).await;
                Ok(())
            }
            // A later program may say more; it is passed over.
            _ => Ok(()),
        }
    }

    fn count_word(&mut self) -> Result<(), Over> {
        self.words
            .takes(Mono(boot_ms()))
            .then_some(())
            .ok_or(Over("you say too much"))
    }

    /// The neighbour shows its permanent key: remembered if its certificate is good, and asked for if it is not.
    async fn shown(&mut self, key: &PeerKey, met: &Met) -> Result<(), Over> {
        self.count_word()?;
        if !is_shown(key, &met.binding, &met.agent) {
            return Err(Over("your key is not yours"));
        }
        if met.is_fresh {
            let (keys, agent, key) = (self.keys.clone(), met.agent.clone(), key.key);
            let learned = tokio::task::spawn_blocking(move || lock(&keys).learn(&agent, key)).await;
            if let Ok(Err(error)) = learned {
                tracing::warn!(%error, "a neighbour's key is not kept");
            }
            return Ok(());
        }
        if lock(&self.keys).of(&met.agent) != Some(&key.key) {
            return Err(Over("your certificate's time is over, and your key is not known here"));
        }
        tracing::info!(peer = %met.agent, "a neighbour whose certificate's time is over is known by its key");
        self.is_proven = true;
        met.handle.prove();
        Ok(())
    }

    /// Tells how this node stands, unless that is known. Of beacons alone nobody has to hear who has a session with the hub.
    fn say(&mut self, sender: &Sender, handle: &PeerHandle) {
        let said = self.said.borrow_and_update().clone();
        let shared = self.shared.borrow_and_update().clone();
        let is_told = self.told.as_ref().is_some_and(|(told, held)| {
            let is_same_policy = held.bundle == shared.held.bundle && held.roles == shared.held.roles;
            let concerns = said.reach == Reach::Alone || self.is_alone();
            *told == said && is_same_policy && (*held == shared.held || !concerns)
        });
        if is_told {
            return;
        }
        self.told = Some((said.clone(), shared.held));
        self.answer_by
            .get_or_insert_with(|| (Instant::now() + ANSWERS_WITHIN, handle.heard_packets()));
        // A session that is over says so by itself.
        let _ = sender.send(&Frame::PeerPath(PeerPath {
            via: said.via,
            hops: said.hops,
            uplink: said.uplink,
            hub_rtt_us: said.hub_rtt_us,
            hub_away: shared.hub_away,
            policy_age_ms: shared.fresh_at.map_or(u64::MAX, |at| boot_ms().saturating_sub(at.0)),
            authority: shared.authority,
        }));
        let _ = sender.send(&Frame::PeerState(PeerState {
            site: self.site.clone(),
            reach: said.reach,
            held: shared.held,
        }));
    }

    fn is_alone(&self) -> bool {
        self.theirs.as_ref().is_some_and(|theirs| theirs.reach == Reach::Alone)
    }

    /// Decides when the neighbour gets what it lacks: at once what is news to all, later what others give it, too.
    fn plan_to_give(&mut self) {
        let shared = self.shared.borrow();
        let theirs = self.theirs.as_ref().filter(|theirs| theirs.reach == Reach::Alone);
        let lacks = theirs.is_some_and(|theirs| !shared.lacking(&theirs.held).is_empty());
        let now = Instant::now();
        let again = self
            .given
            .filter(|(held, _)| *held == shared.held)
            .map(|(_, at)| at + GIVE_AGAIN);
        let wait = if shared.passed { PASS_ON_AFTER } else { Duration::ZERO };
        self.give_at = lacks.then(|| again.unwrap_or(now).max(now + wait));
    }

    fn give(&mut self, sender: &Sender) {
        self.give_at = None;
        let shared = self.shared.borrow().clone();
        let Some(theirs) = &self.theirs else { return };
        for frame in shared.lacking(&theirs.held) {
            let _ = sender.send(&frame);
        }
        self.given = Some((shared.held, Instant::now()));
    }
}

/// Never, if nothing is to be given.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
