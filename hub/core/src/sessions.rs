//! The conversation with one agent: hello, welcome, everything else, goodbye.
//!
//! Decides who is let in, which session of an identity counts, and when a session is over. An agent is welcomed only when
//! nothing of it is on its way to the store, so that what the welcome says the hub holds is exactly what it holds.
//!
//! Invariant: at most one welcomed session per identity; a denied or quarantined identity has none.
//! Read next: `restore.rs` (what a hello can reveal), `ingest.rs` (what is sent after it).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wire::entry::ChainHead;
use wire::frame::{Frame, Goodbye, GoodbyeReason, Hello, OLDEST_VERSION, STOPPED, VERSION, Welcome};
use wire::ids::{AgentId, Epoch, HubEpoch, Seq};
use wire::time::Now;

use crate::admission::admit_identity;
use crate::agents::How;
use crate::chain::FARTHEST_SEQ;
use crate::effect::Effect;
use crate::fleet::{Node, Place, Told};
use crate::hub::Hub;
use crate::input::SessionId;
use crate::timers::Timer;

/// Site of an agent that the store does not know: the hub was restored from a copy that is older than the agent.
pub(crate) const UNKNOWN_SITE: &str = "unknown";
/// A person has to act first; asking twice a minute costs nothing, and whoever is allowed again waits no longer.
pub(crate) const DENIED_RETRY: Duration = Duration::from_secs(30);
/// A hello follows the handshake at once; ten seconds cover three lost flights.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// For the side that lost its session to a newer one: longer than the newer one needs to be seen as a clone.
const REPLACED_RETRY: Duration = Duration::from_secs(5);
/// A renamed agent has nothing to wait for.
const RENAMED_RETRY: Duration = Duration::from_millis(100);
/// After a broken protocol: a second look is cheap, a tight loop is not.
const PROTOCOL_RETRY: Duration = Duration::from_secs(1);
/// An agent of another version comes back once it was updated.
const VERSION_RETRY: Duration = Duration::from_secs(300);
/// `Welcome::holds` is at most this long: the present epoch and 16 older ones.
const MAX_HOLDS: usize = 17;

/// All sessions that are up.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: BTreeMap<SessionId, Session>,
    /// Those that are not welcomed yet.
    greeting: BTreeSet<SessionId>,
}

#[derive(Debug)]
struct Session {
    place: Place,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Nothing was said.
    Opened,
    /// It said hello and waits for the welcome, until the store holds this hub epoch.
    Greeted { hello: Box<Hello>, needs: HubEpoch },
    /// Welcomed.
    Live(Live),
}

/// What a welcomed session may do.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// The epoch of its hello; a higher one may begin at any time.
    head: Epoch,
    /// The first entry that the agent still has of each epoch.
    oldest: Vec<(Epoch, Seq)>,
    /// It was asked for its bundle.
    pub(crate) asked: bool,
}

impl Live {
    fn of(hello: &Hello) -> Self {
        let older = hello.older.iter().map(|(epoch, first, _)| (*epoch, *first));
        Self {
            head: hello.head.epoch,
            oldest: older.chain([(hello.head.epoch, hello.oldest_entry)]).collect(),
            asked: false,
        }
    }

    /// Whether entries of this epoch may come, and where they begin at the agent.
    pub(crate) fn epoch(&self, epoch: Epoch) -> Option<Seq> {
        let said = self.oldest.iter().find(|(known, _)| *known == epoch);
        match said {
            Some((_, oldest)) => Some(*oldest),
            None => (epoch > self.head).then_some(Seq(1)),
        }
    }
}

impl Sessions {
    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.all.keys().copied().collect()
    }

    /// Whose it is, if it is still up.
    pub(crate) fn place(&self, session: SessionId) -> Option<Place> {
        self.all.get(&session).map(|session| session.place)
    }

    /// What a welcomed session may do.
    pub(crate) fn live(&self, session: SessionId) -> Option<&Live> {
        match self.all.get(&session)?.phase {
            Phase::Live(ref live) => Some(live),
            _ => None,
        }
    }

    pub(crate) fn live_mut(&mut self, session: SessionId) -> Option<&mut Live> {
        match self.all.get_mut(&session)?.phase {
            Phase::Live(ref mut live) => Some(live),
            _ => None,
        }
    }
}

impl Hub {
    /// A session is up, nothing was said yet.
    pub(crate) fn opened(&mut self, session: SessionId, agent: &AgentId, now: Now) {
        let known = self.fleet.count();
        let place = self.fleet.place_or_new(agent, UNKNOWN_SITE);
        if self.fleet.count() > known {
            self.recount(place);
        }
        if let Some((reason, wait, detail)) = self.refuses(place, now) {
            return self.turn_away(session, reason, wait, &detail);
        }
        if let Some(older) = self.fleet.node(place).greeting {
            self.dismiss(
                older,
                GoodbyeReason::Replaced,
                REPLACED_RETRY,
                "a newer session came",
                now,
            );
        }
        let entry = Session {
            place,
            phase: Phase::Opened,
        };
        self.sessions.all.insert(session, entry);
        self.sessions.greeting.insert(session);
        self.fleet.node_mut(place).greeting = Some(session);
        self.timers.set(now.mono + HELLO_DEADLINE, Timer::Hello(session));
        // A former self of this hub enrolled it.
        if std::mem::take(&mut self.fleet.node_mut(place).record.removed) {
            self.fleet.node_mut(place).record_changed = true;
        }
        // A node that was just added must be in the store before its first entry.
        if self.fleet.node(place).record_changed {
            self.enqueue(place);
        }
    }

    fn refuses(&mut self, place: Place, now: Now) -> Option<(GoodbyeReason, Duration, String)> {
        if self.stopping {
            let slot = self.admission.slot(now.mono);
            return Some((GoodbyeReason::Stopping, slot, "the hub stops".to_owned()));
        }
        let agent = self.fleet.node(place).id().clone();
        if let Some(shut) = self.shut_out(&agent) {
            return Some(shut);
        }
        let node = self.fleet.node_mut(place);
        if let Err(wait) = admit_identity(&mut node.bucket, now.mono) {
            let detail = "this identity begins too many sessions".to_owned();
            return Some((GoodbyeReason::Busy, wait, detail));
        }
        if let Some(wait) = node.pace.is_rude(now.mono) {
            let detail = "it has sent more than it may".to_owned();
            return Some((GoodbyeReason::Busy, wait, detail));
        }
        let open = self.sessions.greeting.len();
        let wait = self.admission.admit(open, now.mono).err()?;
        Some((GoodbyeReason::Busy, wait, "too many agents come at once".to_owned()))
    }

    /// Why an agent is shut out, as it is told.
    pub(crate) fn shut_out(&self, agent: &AgentId) -> Option<(GoodbyeReason, Duration, String)> {
        let shut = self.agents.shut(agent)?;
        let reason = &shut.reason;
        Some(match &shut.how {
            How::Denied => (GoodbyeReason::Denied, DENIED_RETRY, reason.clone()),
            How::Quarantined => (GoodbyeReason::Cloned, DENIED_RETRY, reason.clone()),
            How::Removed => {
                let detail = format!("removed from the fleet: {reason}");
                (GoodbyeReason::Denied, DENIED_RETRY, detail)
            }
            // It comes back at once, and is given its new name with its next certificate.
            How::Renamed { to } => {
                let detail = format!("its name is `{to}` from here on: {reason}");
                (GoodbyeReason::Busy, RENAMED_RETRY, detail)
            }
        })
    }

    /// The first frame of a session.
    pub(crate) fn hello(&mut self, session: SessionId, hello: Hello, now: Now) {
        let Some(entry) = self.sessions.all.get(&session) else {
            return;
        };
        let place = entry.place;
        if !matches!(entry.phase, Phase::Opened) {
            return self.broke_protocol(session, "a second hello", now);
        }
        if let Err(detail) = plausible(&hello) {
            return self.broke_protocol(session, detail, now);
        }
        if hello.oldest_version > VERSION || hello.version < OLDEST_VERSION {
            let detail = format!(
                "the hub speaks versions {OLDEST_VERSION} to {VERSION}, the agent {} to {}",
                hello.oldest_version, hello.version
            );
            return self.dismiss(session, GoodbyeReason::Version, VERSION_RETRY, &detail, now);
        }
        if self.fleet.node_mut(place).note_process(hello.process) {
            return self.quarantine(place, now);
        }
        if let Some(older) = self.fleet.node(place).session {
            self.dismiss(
                older,
                GoodbyeReason::Replaced,
                REPLACED_RETRY,
                "a newer session came",
                now,
            );
        }
        if let Some(detail) = fork(self.fleet.node(place), &hello) {
            self.note_fork(place, detail, now);
        }
        let needs = match self.learn(place, &hello, now) {
            Ok(needs) => needs,
            Err(detail) => return self.dismiss(session, GoodbyeReason::Protocol, DENIED_RETRY, &detail, now),
        };
        let node = self.fleet.node_mut(place);
        node.record.told = Some(Told::of(&hello, now));
        node.record.program.clone_from(&hello.program);
        node.record.seen = Some(now);
        let hello = Box::new(hello);
        if let Some(entry) = self.sessions.all.get_mut(&session) {
            entry.phase = Phase::Greeted { hello, needs };
        }
        match self.writer.pause(now.mono) {
            None => self.welcome_if_ready(session, now),
            Some(pause) => {
                let wait = pause + self.admission.slot(now.mono);
                self.dismiss(session, GoodbyeReason::Busy, wait, "the hub cannot write", now);
            }
        }
    }

    /// Welcomes whoever waited for the batch that was just stored.
    pub(crate) fn welcome_waiting(&mut self, now: Now) {
        let waiting: Vec<SessionId> = self.sessions.greeting.iter().copied().collect();
        for session in waiting {
            self.welcome_if_ready(session, now);
        }
    }

    /// The store does not work: whoever waits for it comes again later.
    pub(crate) fn turn_away_waiting(&mut self, pause: Duration, reason: &str, now: Now) {
        let greeted = |session: &&SessionId| {
            let entry = self.sessions.all.get(session);
            entry.is_some_and(|entry| matches!(entry.phase, Phase::Greeted { .. }))
        };
        let waiting: Vec<SessionId> = self.sessions.greeting.iter().filter(greeted).copied().collect();
        for session in waiting {
            let wait = pause + self.admission.slot(now.mono);
            let detail = format!("the hub cannot write: {reason}");
            self.dismiss(session, GoodbyeReason::Busy, wait, &detail, now);
        }
    }

    fn welcome_if_ready(&mut self, session: SessionId, now: Now) {
        let Some(entry) = self.sessions.all.get_mut(&session) else {
            return;
        };
        let place = entry.place;
        let node = self.fleet.node_mut(place);
        let Phase::Greeted { hello, needs } = &entry.phase else {
            return;
        };
        if self.meta.hub_epoch < *needs || !node.settled() {
            return;
        }
        let live = Live::of(hello);
        let welcome = Welcome {
            version: hello.version.min(VERSION),
            hub_epoch: self.meta.hub_epoch,
            holds: holds(node, hello),
            telemetry: if node.feed.epoch == hello.head.epoch {
                node.feed.durable
            } else {
                Seq(0)
            },
            bundle: self.bundles.newest_reference(),
            session: node.record.sessions + 1,
            now,
        };
        let bundle = hello.bundle;
        entry.phase = Phase::Live(live);
        self.sessions.greeting.remove(&session);
        node.greeting = None;
        node.session = Some(session);
        node.record.sessions += 1;
        node.rejoined(now);
        node.record_changed = true;
        self.enqueue(place);
        self.touch(place);
        self.policy_changed = true;
        self.send(session, Frame::Welcome(welcome));
        self.ask_if_newer(session, bundle);
        self.offer_bundle(session, bundle, now);
        self.joins_domains(place, now);
        self.resend_commands(place, session, now);
        self.offer_checkpoint(session);
        self.came.insert(place);
    }

    /// The transport lost it, or the agent closed it.
    pub(crate) fn closed(&mut self, session: SessionId, reason: &str, now: Now) {
        if let Some(place) = self.forget(session, now) {
            self.fleet.node_mut(place).record.stopped = reason == STOPPED;
            if reason == STOPPED {
                self.rests(place);
            }
        }
    }

    pub(crate) fn hello_overdue(&mut self, session: SessionId, now: Now) {
        let entry = self.sessions.all.get(&session);
        if entry.is_some_and(|entry| matches!(entry.phase, Phase::Opened)) {
            self.broke_protocol(session, "no hello came", now);
        }
    }

    /// Two processes use this identity: nobody can tell which is the right one, so neither is let in until a person decides.
    fn quarantine(&mut self, place: Place, now: Now) {
        let reason = "two processes use this identity: end one of them, then `sentinel node allow` lets the other in";
        self.quarantine_agent(place, reason, now);
        let agent = self.fleet.node(place).id().clone();
        self.cut(&agent, now);
    }

    pub(crate) fn broke_protocol(&mut self, session: SessionId, detail: &str, now: Now) {
        self.dismiss(session, GoodbyeReason::Protocol, PROTOCOL_RETRY, detail, now);
    }

    /// Ends a session that is up.
    pub(crate) fn dismiss(
        &mut self,
        session: SessionId,
        reason: GoodbyeReason,
        retry_after: Duration,
        detail: &str,
        now: Now,
    ) {
        if self.forget(session, now).is_some() {
            self.turn_away(session, reason, retry_after, detail);
        }
    }

    fn turn_away(&mut self, session: SessionId, reason: GoodbyeReason, wait: Duration, detail: &str) {
        let goodbye = Goodbye {
            reason,
            retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            detail: detail.to_owned(),
        };
        self.send(session, Frame::Goodbye(goodbye));
        self.effects.push_back(Effect::Close {
            session,
            reason: detail.to_owned(),
        });
    }

    /// A session is no longer up. Returns whose it was.
    fn forget(&mut self, session: SessionId, now: Now) -> Option<Place> {
        let Session { place, .. } = self.sessions.all.remove(&session)?;
        self.sessions.greeting.remove(&session);
        let node = self.fleet.node_mut(place);
        if node.greeting == Some(session) {
            node.greeting = None;
        }
        if node.session == Some(session) {
            node.session = None;
            node.record.since = Some(now.wall);
            node.record_changed = true;
            self.enqueue(place);
            self.touch(place);
            self.leaves_domains(place, now);
        }
        Some(place)
    }
}

/// Numbers that no honest agent can have reached, and that contradict each other.
fn plausible(hello: &Hello) -> Result<(), &'static str> {
    let is_far = |seq: Seq| seq > FARTHEST_SEQ;
    if is_far(hello.head.seq) || hello.older.iter().any(|(_, _, last)| is_far(*last)) {
        return Err("more entries than can have been made");
    }
    if hello.acked > hello.head.seq || hello.oldest_entry > hello.head.seq.next() {
        return Err("more entries acknowledged or trimmed than made");
    }
    if hello.older.iter().any(|(_, first, last)| *first > last.next()) {
        return Err("an older epoch that ends before it begins");
    }
    if hello.older.len() >= MAX_HOLDS {
        return Err("more than 16 older epochs");
    }
    let epochs = hello.older.iter().map(|(epoch, ..)| *epoch).chain([hello.head.epoch]);
    if !epochs.is_sorted_by(|before, after| before < after) {
        return Err("epochs are not in order");
    }
    Ok(())
}

/// What shows that this agent's history went on in two places: it has been here before, and the hub holds of it what it does not know
/// of. Its own copy was put back in place, or another machine has run with a copy of its state folder.
fn fork(node: &Node, hello: &Hello) -> Option<String> {
    // An agent that lost everything but its identity says so itself, and copies of it have been here.
    if hello.last_session == 0 {
        return None;
    }
    let head = hello.head;
    let newest = node.chains.last().map(|chain| chain.durable)?;
    let unknown = match newest.epoch.cmp(&head.epoch) {
        Ordering::Less => return None,
        Ordering::Equal => newest.seq > head.seq || (newest.seq == head.seq && newest.digest != head.digest),
        Ordering::Greater => true,
    };
    unknown.then(|| {
        format!(
            "two histories: the hub holds entry {} of epoch {}, of which this node, at entry {} of epoch {}, knows nothing. Its state \
             folder was put back from a copy, or another machine has run with a copy of it. If it was a copy of yours, `sentinel node \
             allow {agent}` ends this finding; if not, `sentinel node rejoin {agent}` gives the node new keys and shuts the other out",
            newest.seq,
            newest.epoch,
            head.seq,
            head.epoch,
            agent = node.id(),
        )
    })
}

/// What the hub holds, of the epochs that the agent names and then of the newest ones.
fn holds(node: &Node, hello: &Hello) -> Vec<ChainHead> {
    let named = |head: &ChainHead| {
        let older = hello.older.iter().any(|(epoch, ..)| *epoch == head.epoch);
        older || head.epoch == hello.head.epoch
    };
    let heads = || node.chains.iter().map(|chain| chain.durable);
    let mut holds: Vec<ChainHead> = heads().filter(named).collect();
    let free = MAX_HOLDS.saturating_sub(holds.len());
    holds.extend(heads().rev().filter(|head| !named(head)).take(free));
    holds.sort_unstable_by_key(|head| head.epoch);
    holds
}
