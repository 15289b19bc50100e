//! The one session with a hub: whether there is one, and what it waits for.
//!
//! Decides when to connect, when to give a silent session up and when a status is due. It never looks into entries.
//!
//! Invariants: at most one try is under way; a session in which nothing is acknowledged for longer than acknowledgements on it
//! usually take (and at most [`SILENCE`] plus the time that a slow link needs for what is under way) is ended, also when the other
//! direction still works.
//!
//! Read next: `backoff.rs` (when to try again), `sync.rs` (what is said).

use std::collections::VecDeque;
use std::time::Duration;

use wire::ids::{Epoch, HubEpoch, Seq};
use wire::time::Mono;

use crate::backoff::Backoff;
use crate::effect::Token;

/// A hub answers a hello after one commit; ten seconds are a very slow one over a very slow link.
const GREETING: Duration = Duration::from_secs(10);
/// Nothing acknowledged for this long: the path is dead in at least one direction.
const SILENCE: Duration = Duration::from_secs(30);
/// The same on a path that has shown that it is quick. A hub's slow commit must not look like a dead path.
const QUICK_SILENCE: Duration = Duration::from_secs(4);
/// How many usual waits are unusual.
const USUAL_WAITS: u32 = 8;
/// Bytes a second that the slowest usable link carries: 64 kbit/s.
const SLOWEST_BYTES_PER_S: u64 = 8_000;
/// How long a try waits for what has to be durable first.
const POSTPONED: Duration = Duration::from_millis(200);
/// A status is repeated this often when nothing changes; that a node lives is seen from its telemetry.
const STATUS_EVERY: Duration = Duration::from_secs(60);
/// Changes within this time travel as one status.
const STATUS_GATHER: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) enum Stage {
    /// No session, and none is tried until then.
    Down { retry_at: Mono },
    /// The shell tries.
    Connecting,
    /// Hello is sent.
    Greeting { since: Mono },
    /// The hub has answered.
    Welcomed(Box<Session>),
    /// The shell was told to end the session.
    Closing { welcomed_at: Option<Mono> },
}

/// One conversation.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) since: Mono,
    pub(crate) hub_epoch: HubEpoch,
    /// When the hub was asked for its time, until it answers.
    pub(crate) time_asked: Option<Mono>,
    pub(crate) entries: Stream,
    pub(crate) blocks: Stream,
}

impl Session {
    /// When one of the logs has been silent for too long.
    fn silent_at(&self) -> Option<Mono> {
        // Both logs travel the same path: what one has shown of it is true for the other.
        let wait = self.entries.wait.max(self.blocks.wait);
        [self.entries.due(wait), self.blocks.due(wait)]
            .into_iter()
            .flatten()
            .min()
    }
}

/// How far one log is sent.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Older epochs that have to go first: (epoch, next, last).
    pub(crate) older: VecDeque<(Epoch, Seq, Seq)>,
    /// The next item of the present epoch.
    pub(crate) next: Seq,
    /// What is being read from the journal: which epoch, from where.
    pub(crate) loading: Option<(Token, Epoch, Seq)>,
    /// Sent and not acknowledged: (epoch, last item, bytes).
    flying: VecDeque<(Epoch, Seq, usize)>,
    flying_bytes: usize,
    progress_at: Mono,
    /// The longest recent wait for an acknowledgement; forgotten slowly. `None` before the first.
    wait: Option<Duration>,
}

impl Stream {
    pub(crate) fn new(older: VecDeque<(Epoch, Seq, Seq)>, next: Seq, now: Mono) -> Self {
        Self {
            older,
            next,
            loading: None,
            flying: VecDeque::new(),
            flying_bytes: 0,
            progress_at: now,
            wait: None,
        }
    }

    pub(crate) fn flying_bytes(&self) -> usize {
        self.flying_bytes
    }

    /// These were sent.
    pub(crate) fn sent(&mut self, epoch: Epoch, through: Seq, bytes: usize, now: Mono) {
        if self.flying.is_empty() {
            self.progress_at = now;
        }
        self.flying.push_back((epoch, through, bytes));
        self.flying_bytes += bytes;
    }

    /// These are acknowledged.
    pub(crate) fn acked(&mut self, epoch: Epoch, through: Seq, now: Mono) {
        if !self.flying.is_empty() {
            let wait = now.since(self.progress_at);
            self.wait = Some(self.wait.map_or(wait, |longest| wait.max(longest * 7 / 8)));
        }
        self.progress_at = now;
        let done = |item: &(Epoch, Seq, usize)| (item.0, item.1) <= (epoch, through);
        while let Some((_, _, bytes)) = self.flying.pop_front_if(|item| done(item)) {
            self.flying_bytes -= bytes;
        }
    }

    /// When it has been silent for too long.
    fn due(&self, wait: Option<Duration>) -> Option<Mono> {
        (!self.flying.is_empty()).then(|| self.progress_at + self.patience(wait))
    }

    /// How long silence is no sign of a dead path: some of the usual waits, and the time that a slow link needs for what is sent.
    fn patience(&self, wait: Option<Duration>) -> Duration {
        let usual = wait.map_or(SILENCE, |wait| (wait * USUAL_WAITS).clamp(QUICK_SILENCE, SILENCE));
        usual + Duration::from_secs(self.flying_bytes as u64 / SLOWEST_BYTES_PER_S)
    }
}

/// What the link needs the turn to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Connect,
    GiveUp(&'static str),
    Status,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stage: Stage,
    pub(crate) backoff: Backoff,
    /// The next try comes when the hub said, and not before.
    slot_is_named: bool,
    status_at: Mono,
    status_wanted: bool,
}

impl Link {
    /// Tries at once.
    pub(crate) fn new(seed: u64, now: Mono) -> Self {
        Self {
            stage: Stage::Down { retry_at: now },
            backoff: Backoff::new(seed),
            slot_is_named: false,
            status_at: now,
            status_wanted: false,
        }
    }

    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Welcomed(session) => Some(session),
            Stage::Down { .. } | Stage::Connecting | Stage::Greeting { .. } | Stage::Closing { .. } => None,
        }
    }

    pub(crate) fn is_welcomed(&self) -> bool {
        matches!(self.stage, Stage::Welcomed(_))
    }

    /// Something that a status tells has changed.
    pub(crate) fn want_status(&mut self) {
        self.status_wanted = true;
    }

    pub(crate) fn status_sent(&mut self, now: Mono) {
        self.status_at = now;
        self.status_wanted = false;
    }

    /// What is due now.
    pub(crate) fn look(&self, now: Mono) -> Option<Due> {
        match &self.stage {
            Stage::Down { retry_at } => (now >= *retry_at).then_some(Due::Connect),
            Stage::Greeting { since } => {
                (now.since(*since) >= GREETING).then_some(Due::GiveUp("the hub did not answer the hello"))
            }
            Stage::Welcomed(session) => {
                if session.silent_at().is_some_and(|due| now >= due) {
                    return Some(Due::GiveUp("the hub stopped acknowledging"));
                }
                (now >= self.status_due()).then_some(Due::Status)
            }
            Stage::Connecting | Stage::Closing { .. } => None,
        }
    }

    /// When [`Link::look`] will have something.
    pub(crate) fn due(&self) -> Option<Mono> {
        match &self.stage {
            Stage::Down { retry_at } => Some(*retry_at),
            Stage::Greeting { since } => Some(*since + GREETING),
            Stage::Welcomed(session) => session.silent_at().into_iter().chain([self.status_due()]).min(),
            Stage::Connecting | Stage::Closing { .. } => None,
        }
    }

    /// Something has to become durable before the next try.
    pub(crate) fn postpone(&mut self, now: Mono) {
        self.stage = Stage::Down {
            retry_at: now + POSTPONED,
        };
    }

    /// The session is to end; the shell confirms by `LinkDown`. `false`: there is none.
    pub(crate) fn close(&mut self) -> bool {
        let welcomed_at = match &self.stage {
            Stage::Greeting { .. } => None,
            Stage::Welcomed(session) => Some(session.since),
            Stage::Down { .. } | Stage::Connecting | Stage::Closing { .. } => return false,
        };
        self.stage = Stage::Closing { welcomed_at };
        true
    }

    /// There is a new way to the hub: the next try comes now, unless the hub itself said when.
    pub(crate) fn hasten(&mut self, now: Mono) {
        if let Stage::Down { retry_at } = &mut self.stage
            && !self.slot_is_named
        {
            *retry_at = (*retry_at).min(now);
        }
    }

    /// The session is gone. Returns whether it had been welcomed.
    pub(crate) fn went_down(&mut self, now: Mono) -> bool {
        let welcomed_at = match &self.stage {
            Stage::Welcomed(session) => Some(session.since),
            Stage::Closing { welcomed_at } => *welcomed_at,
            Stage::Down { .. } => return false,
            Stage::Connecting | Stage::Greeting { .. } => None,
        };
        if let Some(since) = welcomed_at {
            self.backoff.session_ended(now.since(since));
        }
        self.slot_is_named = self.backoff.is_bound();
        self.stage = Stage::Down {
            retry_at: now + self.backoff.next_delay(now),
        };
        welcomed_at.is_some()
    }

    fn status_due(&self) -> Mono {
        let span = if self.status_wanted {
            STATUS_GATHER
        } else {
            STATUS_EVERY
        };
        self.status_at + span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcomed(now: u64) -> Link {
        let mut link = Link::new(1, Mono(now));
        let stream = || Stream::new(VecDeque::new(), Seq(1), Mono(now));
        link.stage = Stage::Welcomed(Box::new(Session {
            since: Mono(now),
            hub_epoch: HubEpoch(1),
            time_asked: None,
            entries: stream(),
            blocks: stream(),
        }));
        link.status_sent(Mono(now));
        link
    }

    #[test]
    fn one_way_silence_ends_a_session_and_acks_keep_it() {
        let mut link = welcomed(0);
        let session = link.session().expect("welcomed");
        session.entries.sent(Epoch(1), Seq(5), 100, Mono(1_000));
        session.entries.acked(Epoch(1), Seq(4), Mono(20_000));
        link.status_sent(Mono(40_000));
        assert_eq!(link.look(Mono(49_999)), None);
        assert_eq!(
            link.look(Mono(50_000)),
            Some(Due::GiveUp("the hub stopped acknowledging"))
        );
        let session = link.session().expect("welcomed");
        session.entries.acked(Epoch(1), Seq(5), Mono(50_000));
        assert_eq!(session.entries.flying_bytes(), 0);
        assert_eq!(link.look(Mono(54_000)), None, "nothing waits for an answer");
    }

    #[test]
    fn a_quick_path_is_given_up_sooner_unless_much_is_under_way() {
        let check = |wait_ms: u64, bytes: usize, patience_s: u64| {
            let mut stream = Stream::new(VecDeque::new(), Seq(1), Mono(0));
            stream.sent(Epoch(1), Seq(1), 100, Mono(0));
            stream.acked(Epoch(1), Seq(1), Mono(wait_ms));
            stream.sent(Epoch(1), Seq(2), bytes, Mono(60_000));
            assert_eq!(stream.due(stream.wait), Some(Mono(60_000 + patience_s * 1_000)));
        };
        check(30, 100, 4);
        check(1_000, 100, 8);
        check(20_000, 100, 30);
        check(30, 256_000, 4 + 32);
    }

    #[test]
    fn a_status_is_regular_and_early_after_a_change() {
        let mut link = welcomed(0);
        assert_eq!(link.look(Mono(59_999)), None);
        assert_eq!(link.look(Mono(60_000)), Some(Due::Status));
        link.status_sent(Mono(60_000));
        link.want_status();
        assert_eq!(link.look(Mono(60_499)), None);
        assert_eq!(link.look(Mono(60_500)), Some(Due::Status));
    }

    #[test]
    fn a_new_way_is_tried_at_once_unless_the_hub_named_a_slot() {
        for (slot, expected) in [(None, Some(Due::Connect)), (Some(Duration::from_secs(60)), None)] {
            let mut link = welcomed(0);
            if let Some(slot) = slot {
                link.backoff.ask(slot);
            }
            link.went_down(Mono(60_000));
            // An outage that has lasted: the delays are long.
            for _ in 0..8 {
                link.stage = Stage::Connecting;
                if let Some(slot) = slot {
                    link.backoff.ask(slot);
                }
                link.went_down(Mono(100_000));
            }
            assert_eq!(link.look(Mono(100_001)), None);
            link.hasten(Mono(100_001));
            assert_eq!(link.look(Mono(100_001)), expected);
        }
    }

    #[test]
    fn a_hello_without_answer_is_given_up() {
        let mut link = Link::new(1, Mono(0));
        assert_eq!(link.look(Mono(0)), Some(Due::Connect));
        link.stage = Stage::Greeting { since: Mono(0) };
        assert_eq!(link.look(Mono(9_999)), None);
        assert!(matches!(link.look(Mono(10_000)), Some(Due::GiveUp(_))));
        assert!(link.close());
        assert!(!link.close(), "once");
        assert_eq!(link.due(), None, "the shell answers by itself");
        assert!(!link.went_down(Mono(10_000)));
        assert!(link.due().is_some());
    }
}
