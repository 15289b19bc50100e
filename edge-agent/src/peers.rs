//! Keeps in touch with the neighbours that the policy names, or the settings where the policy names none: who is there, how each stands
//! with the hub, and the way through it.
//!
//! One task. Of two agents the one whose name comes first makes the session, so that a pair has one; the other one makes it where it
//! hears nothing at its own start, because the first may still believe in a session with the process before. Whom to go through is
//! decided in `edge-agent-core`, and so is what a bundle or a beacon that a neighbour passed on is worth; this file only says who is
//! in touch, and carries for whom it may. It never speaks with an agent that neither names.
//!
//! Invariant: nobody is carried who is not a member, and nobody through more than this agent and one other.
//! Read next: `peers/talk.rs` (one session), `wire/transport/src/tunnel.rs` (what is carried), `link.rs` (who goes through).

mod budget;
mod mdns;
mod site;
mod talk;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use edge_agent_core::{Input, Shared, better_than, carriers};
use policy::{Members, Site};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wire::AgentId;
use wire::api::NeighbourView;
use wire::frame::{Reach, Uplink};
use wire::time::Mono;
use wire_transport::{
    CertificateClock, Keeper, Kept, Limits, Met, PeerEnd, PeerError, PeerTls, Timing, TlsError, Tunnel,
};

use crate::clock::{boot_ms, wall};
use crate::config::Mesh;
use crate::identity::{Identity, NeighbourKeys};
use crate::watch::Watch;
use budget::Budgets;
use mdns::{Hint, Mdns};
use site::{Known, Live, lock};
use talk::{News, Talk};

/// A neighbour that restarts is back within seconds; one that is gone costs a packet each so often.
const DIAL_AGAIN: Duration = Duration::from_secs(2);
/// A neighbour that has not answered for long is tried as often as this.
const DIAL_SELDOM: Duration = Duration::from_secs(30);
/// How often it is tried until then.
const DIALS_QUICK: u32 = 15;
/// One dial: a few lost packets on a local network.
const DIAL_WITHIN: Duration = Duration::from_secs(4);
/// How long the agent whose name comes second waits at its start for the other one's dial.
const WAIT_FOR_DIAL: Duration = Duration::from_secs(3);
/// Two sessions of one pair that began within this time were made at once, by both: no dial takes longer.
const AT_ONCE: Duration = DIAL_WITHIN;

/// A silent session between neighbours costs a packet each way in this time: with fifty neighbours 52 bytes a second. That a neighbour
/// is gone need not be known earlier: before one carries, it is asked whether it does.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Two such packets lost, each repeated by QUIC meanwhile.
const IDLE: Duration = Duration::from_secs(150);

/// How often it is looked whether the paths to neighbours have room for what is carried: a network that changed is told soon enough.
const LOOK_AT_PATHS: Duration = Duration::from_secs(10);
/// A disk that did not take what was carried today is tried again after this; nothing beyond what it took is carried until then.
const STORE_AGAIN: Duration = Duration::from_secs(30);

/// Words of neighbours that may wait; whoever says more waits, in its own session.
const NEWS: usize = 64;
/// Ways that are asked at once whether the hub answers on them.
const WAYS: usize = 3;

/// How this node stands with the hub, as its neighbours hear it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// In one word.
    pub reach: Reach,
    /// Where the hub is, while it is reached.
    pub hub: Option<SocketAddr>,
    /// Who carries the session, if somebody does.
    pub via: Option<AgentId>,
    /// The round trip to the hub, in microseconds; 0 without a session.
    pub hub_rtt_us: u64,
}

impl Own {
    /// Of a node without a session.
    pub const ALONE: Self = Self {
        reach: Reach::Alone,
        hub: None,
        via: None,
        hub_rtt_us: 0,
    };
}

/// A way to the hub through a neighbour.
#[derive(Debug, Clone)]
pub struct Through {
    /// Who carries.
    pub neighbour: AgentId,
    /// The way.
    pub tunnel: Tunnel,
    /// Each byte costs at its end.
    pub metered: bool,
    /// A session by way of it was lost lately: only where no other way answers.
    pub doubted: bool,
}

/// What the link and the peers share.
#[derive(Debug, Clone)]
pub struct Peers {
    name: AgentId,
    known: Arc<Mutex<Known>>,
    /// The neighbours' names and states; changes wake the link.
    seen: watch::Receiver<Vec<NeighbourView>>,
    own: Arc<watch::Sender<Own>>,
    shared: Arc<watch::Sender<Arc<Shared>>>,
    identity: Arc<watch::Sender<Identity>>,
}

impl Peers {
    /// Starts the task; it reports who is in touch into `inputs`.
    pub fn start(
        settings: Mesh,
        identity: &Identity,
        (clock, state_dir): (CertificateClock, &std::path::Path),
        timing: Timing,
        inputs: mpsc::Sender<Input>,
        watch: &Watch,
    ) -> std::io::Result<Self> {
        let socket = UdpSocket::bind(settings.listen)?;
        let listen = socket.local_addr()?;
        let limits = Limits {
            bytes_per_day: settings.carry_per_day(),
            packets_per_day: settings.carry_packets_per_day,
            ..Limits::default()
        };
        let timing = Timing {
            connect: DIAL_WITHIN,
            idle: IDLE,
            keep_alive: KEEP_ALIVE,
            ..timing
        };
        let tls = tls(identity, &clock).map_err(std::io::Error::other)?;
        let mut end = PeerEnd::new(socket, tls, timing, limits)?;
        let budgets = Budgets::new(state_dir);
        let keeper = end.keeping(budgets.load(wall(), Instant::now()));
        let mdns = settings
            .mdns
            .then(|| Mdns::start(identity.agent(), identity.site(), listen));
        let mdns = mdns.transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "the local network is not asked for neighbours");
            None
        });
        let (told, seen) = watch::channel(Vec::new());
        let (own, heard) = watch::channel(Own::ALONE);
        let (shared, newest) = watch::channel(Arc::new(Shared::NOTHING));
        let (renewed, certificates) = watch::channel(identity.clone());
        let (said, _) = watch::channel(Said::NOTHING);
        let peers = Self {
            name: identity.agent().clone(),
            known: Arc::default(),
            seen,
            own: Arc::new(own),
            shared: Arc::new(shared),
            identity: Arc::new(renewed),
        };
        let task = Task {
            end,
            clock,
            name: identity.agent().clone(),
            site: identity.site().to_owned(),
            members: settings.peers.clone(),
            settings,
            hints: BTreeMap::new(),
            mdns,
            tries: BTreeMap::new(),
            busy: BTreeSet::new(),
            known: peers.known.clone(),
            keys: Arc::new(Mutex::new(NeighbourKeys::load(state_dir))),
            keeper,
            budgets,
            is_storing: false,
            stored: BTreeMap::new(),
            told,
            own: heard,
            shared: newest,
            said,
            certificates,
            inputs,
            work: JoinSet::new(),
            news: mpsc::channel(NEWS),
            numbers: 0,
        };
        // It ends by itself when the last handle is gone.
        tokio::spawn(watch.task("peers", task.run()));
        Ok(peers)
    }

    /// What neighbours hear of this node from now on.
    pub fn stand(&self, own: Own) {
        self.own.send_if_modified(|known| {
            let is_new = *known != own;
            *known = own;
            is_new
        });
    }

    /// What neighbours that lack it get from now on.
    pub fn share(&self, shared: Shared) {
        self.shared.send_replace(Arc::new(shared));
    }

    /// Shows another certificate from the next session on.
    pub fn renewed(&self, identity: &Identity) {
        self.identity.send_replace(identity.clone());
    }

    /// Wakes whoever waits when a neighbour comes, goes, or stands otherwise with the hub.
    pub fn seen(&self) -> watch::Receiver<Vec<NeighbourView>> {
        self.seen.clone()
    }

    /// All members of the site as they are now, with ages and counts.
    pub fn views(&self) -> Vec<NeighbourView> {
        lock(&self.known).views(Instant::now())
    }

    /// The ways through neighbours, the best first; at most three.
    pub fn ways(&self, hub: SocketAddr) -> Vec<Through> {
        let views = self.views();
        let best = carriers(&self.name, &views).into_iter().take(WAYS);
        best.filter_map(|neighbour| self.way(neighbour, hub)).collect()
    }

    /// A way that is much better than the one through `present`, or the best where that one carries no more.
    pub fn better_way(&self, present: &AgentId, hub: SocketAddr) -> Option<Through> {
        let views = self.views();
        self.way(better_than(&self.name, present, &views)?, hub)
    }

    /// A session by way of that neighbour did not hold.
    pub fn doubt(&self, carrier: &AgentId, lasted: Duration) {
        lock(&self.known).doubts.failed(carrier, lasted, Mono(boot_ms()));
    }

    fn way(&self, neighbour: &NeighbourView, hub: SocketAddr) -> Option<Through> {
        Some(Through {
            neighbour: neighbour.name.clone(),
            tunnel: lock(&self.known).live.get(&neighbour.name)?.handle.tunnel(hub),
            metered: neighbour.uplink == Uplink::Metered,
            doubted: neighbour.doubted,
        })
    }
}

/// How this node stands, as every session of it says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    reach: Reach,
    via: Option<AgentId>,
    hops: u8,
    uplink: Uplink,
    hub_rtt_us: u64,
}

impl Said {
    const NOTHING: Self = Self {
        reach: Reach::Alone,
        via: None,
        hops: 0,
        uplink: Uplink::Unmetered,
        hub_rtt_us: 0,
    };
}

struct Task {
    end: PeerEnd,
    clock: CertificateClock,
    name: AgentId,
    site: String,
    settings: Mesh,
    /// Who are the neighbours at present, and where.
    members: Members,
    /// Where the local network says that they are.
    hints: BTreeMap<AgentId, SocketAddr>,
    mdns: Option<Mdns>,
    /// How often in a row each was dialled in vain.
    tries: BTreeMap<AgentId, u32>,
    /// Those with a dial, a pause or a session of ours: one chain each.
    busy: BTreeSet<AgentId>,
    known: Arc<Mutex<Known>>,
    keys: Arc<Mutex<NeighbourKeys>>,
    /// What was carried for whom today, and where that is stored.
    keeper: Keeper,
    budgets: Budgets,
    is_storing: bool,
    stored: BTreeMap<AgentId, Kept>,
    told: watch::Sender<Vec<NeighbourView>>,
    own: watch::Receiver<Own>,
    shared: watch::Receiver<Arc<Shared>>,
    said: watch::Sender<Said>,
    certificates: watch::Receiver<Identity>,
    inputs: mpsc::Sender<Input>,
    /// For each neighbour at most a dial or a pause after one, and its sessions.
    work: JoinSet<Done>,
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
    numbers: u64,
}

/// What a neighbour's task has come to.
enum Done {
    Dialled(AgentId, Result<Box<Met>, PeerError>),
    Ended(AgentId, u64),
    Paused(AgentId),
    Stored(std::io::Result<BTreeMap<AgentId, Kept>>),
    StoreAgain,
}

impl Task {
    async fn run(mut self) {
        lock(&self.known).follow(&self.members);
        self.dial_all();
        let mut look = tokio::time::interval(LOOK_AT_PATHS);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                met = self.end.accept() => match met {
                    Some(met) => self.visited(met),
                    None => return,
                },
                Some(done) = self.work.join_next() => {
                    // None of them panics; a neighbour whose task did is out of touch until it dials, and the log says why.
                    if let Ok(done) = done {
                        self.done(done);
                    }
                }
                Some(news) = self.news.1.recv() => self.heard(news),
                hint = next(self.mdns.as_ref()) => self.hinted(hint),
                changed = self.own.changed() => if changed.is_err() {
                    // The link is gone, and with it the reason to be in touch.
                    return self.end().await;
                },
                () = self.keeper.must_store(), if !self.is_storing => self.store(),
                // What the paths have shown is part of what is told below.
                _ = look.tick() => {}
                Ok(()) = self.shared.changed() => self.follow(),
                Ok(()) = self.certificates.changed() => {
                    match tls(&self.certificates.borrow_and_update(), &self.clock) {
                        Ok(tls) => self.end.replace_tls(tls),
                        Err(error) => tracing::warn!(%error, "neighbours see the old certificate"),
                    }
                }
            }
            self.stand();
            if self.tell().await.is_err() {
                return;
            }
        }
    }

    /// Tells the neighbours, and stores what was carried for them in truth.
    async fn end(self) {
        let used = self.keeper.settle();
        self.end.close(wire::frame::STOPPED);
        let budgets = self.budgets;
        let stored = tokio::task::spawn_blocking(move || budgets.store(&used, wall(), Instant::now())).await;
        if let Ok(Err(error)) = stored {
            tracing::warn!(%error, "what was carried for neighbours today is not stored");
        }
    }

    /// Stores ahead what will be carried, one write at a time.
    fn store(&mut self) {
        let (kept, budgets) = (self.keeper.to_store(), self.budgets.clone());
        self.is_storing = kept != self.stored;
        if !self.is_storing {
            return;
        }
        self.work.spawn(async move {
            let storing = move || budgets.store(&kept, wall(), Instant::now()).map(|()| kept);
            let stored = tokio::task::spawn_blocking(storing).await;
            Done::Stored(stored.unwrap_or_else(|panic| Err(std::io::Error::other(panic))))
        });
    }

    /// Whether a session with that neighbour is ours to make.
    fn dials(&self, peer: &AgentId) -> bool {
        self.name < *peer
    }

    /// Another bundle may name other members.
    fn follow(&mut self) {
        let shared = self.shared.borrow_and_update().clone();
        let named = Site::around(&shared.sites, &self.site);
        let by_policy = named.is_some();
        let mut members = named.unwrap_or_else(|| self.settings.peers.clone());
        members.remove(&self.name);
        if members == self.members {
            return;
        }
        tracing::info!(members = members.len(), by_policy, "the neighbours are others now");
        self.members = members;
        for left in lock(&self.known).follow(&self.members) {
            left.close("you are no neighbour of mine any more");
        }
        self.tries.clear();
        self.dial_all();
    }

    /// Dials whom it is ours to dial, and the others after a while if they do not.
    fn dial_all(&mut self) {
        let idle = |peer: &&AgentId| !self.busy.contains(*peer);
        let peers: Vec<AgentId> = self.members.keys().filter(idle).cloned().collect();
        for peer in peers {
            match self.dials(&peer) {
                true => self.dial(peer),
                false => self.pause(peer, WAIT_FOR_DIAL),
            }
        }
    }

    fn dial(&mut self, peer: AgentId) {
        let place = self
            .place_of(&peer)
            .filter(|_| !lock(&self.known).sessions.contains_key(&peer));
        let Some(address) = place else {
            self.busy.remove(&peer);
            return;
        };
        self.busy.insert(peer.clone());
        *self.tries.entry(peer.clone()).or_default() += 1;
        let dialling = self.end.dial(peer.clone(), address);
        self.work
            .spawn(async move { Done::Dialled(peer, dialling.await.map(Box::new)) });
    }

    /// Where a member is tried next: where the list says, and each other time where the local network says.
    fn place_of(&self, peer: &AgentId) -> Option<SocketAddr> {
        let listed = *self.members.get(peer)?;
        let hint = self.hints.get(peer).copied();
        let tries = self.tries.get(peer).copied().unwrap_or(0);
        match tries % 2 == 1 {
            true => hint.or(listed),
            false => listed.or(hint),
        }
    }

    fn pause(&mut self, peer: AgentId, span: Duration) {
        self.busy.insert(peer.clone());
        self.work.spawn(async move {
            tokio::time::sleep(span).await;
            Done::Paused(peer)
        });
    }

    /// Somebody on the local network says where a member is.
    fn hinted(&mut self, hint: Hint) {
        let is_wanted = hint.agent != self.name && self.members.contains_key(&hint.agent) && hint.site == self.site;
        if !is_wanted || self.hints.insert(hint.agent.clone(), hint.address) == Some(hint.address) {
            return;
        }
        tracing::debug!(peer = %hint.agent, address = %hint.address, "the local network says where a neighbour is");
        if !self.busy.contains(&hint.agent) {
            self.tries.insert(hint.agent.clone(), 1);
            self.dial(hint.agent);
        }
    }

    /// Somebody has made a session with us.
    fn visited(&mut self, met: Met) {
        if self.members.contains_key(&met.agent) {
            return self.begin(met);
        }
        tracing::warn!(agent = %met.agent, "no neighbour of this node: sent away");
        met.refuse("you are no neighbour of mine");
    }

    fn begin(&mut self, met: Met) {
        let agent = met.agent.clone();
        // Of two sessions that both ends made at once, the one whose dialler's name comes first; of others, the newer.
        let is_first = |dialled: bool| dialled == self.dials(&agent);
        let mut known = lock(&self.known);
        if let Some(session) = known.sessions.get(&agent) {
            if session.since.elapsed() < AT_ONCE && is_first(session.dialled) && !is_first(met.dialled) {
                return met.refuse("there is a session already");
            }
            session.handle.close("there is a newer session");
        }
        self.numbers += 1;
        let number = self.numbers;
        known.begin(&met, number);
        drop(known);
        self.tries.remove(&agent);
        let talk = Talk::new(self, number);
        self.work.spawn(async move {
            let agent = met.agent.clone();
            talk.run(met).await;
            Done::Ended(agent, number)
        });
    }

    fn heard(&mut self, news: News) {
        if !self.members.contains_key(&news.peer) {
            return;
        }
        let mut known = lock(&self.known);
        // A word of a session that was followed by another one counts no more.
        let session = known
            .sessions
            .get(&news.peer)
            .filter(|session| session.number == news.number);
        let Some(handle) = session.map(|session| session.handle.clone()) else {
            return;
        };
        let heard_packets = handle.heard_packets();
        known.gone.remove(&news.peer);
        known.live.insert(
            news.peer,
            Live {
                handle,
                state: news.state,
                path: news.path,
                said_at: Instant::now(),
                heard: (heard_packets, Instant::now()),
            },
        );
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Dialled(peer, Ok(met)) => {
                self.busy.remove(&peer);
                self.begin(*met);
            }
            Done::Paused(peer) => {
                self.busy.remove(&peer);
                self.dial(peer);
            }
            Done::Stored(Ok(kept)) => {
                self.keeper.stored(&kept);
                (self.stored, self.is_storing) = (kept, false);
            }
            Done::Stored(Err(error)) => {
                tracing::warn!(%error, "what is carried for neighbours cannot be stored: no more than what was is carried");
                self.work.spawn(async {
                    tokio::time::sleep(STORE_AGAIN).await;
                    Done::StoreAgain
                });
            }
            Done::StoreAgain => self.store(),
            Done::Dialled(peer, Err(error)) => {
                tracing::debug!(%peer, %error, "neighbour not in touch");
                self.busy.remove(&peer);
                self.try_later(peer);
            }
            Done::Ended(peer, number) => {
                if !lock(&self.known).end(&peer, number, Instant::now()) {
                    return;
                }
                tracing::info!(%peer, "neighbour out of touch");
                self.try_later(peer);
            }
        }
    }

    fn try_later(&mut self, peer: AgentId) {
        let tries = self.tries.get(&peer).copied().unwrap_or(0);
        let is_ours = self.dials(&peer);
        if self.busy.contains(&peer) || !self.members.contains_key(&peer) {
            return;
        }
        let span = match (is_ours, tries < DIALS_QUICK) {
            (true, true) => DIAL_AGAIN,
            // The other one dials; this end looks whether it does.
            (true, false) | (false, _) => DIAL_SELDOM,
        };
        self.pause(peer, span);
    }

    /// Carries from now on as this node stands, and has every session say how that is.
    fn stand(&mut self) {
        let own = self.own.borrow_and_update().clone();
        let known = lock(&self.known);
        let carrier = own.via.as_ref().and_then(|via| known.live.get(via));
        let next = carrier.filter(|carrier| carrier.state.reach == Reach::Direct);
        match (own.reach, next) {
            (Reach::Direct, _) => self.end.carry_to(own.hub),
            (Reach::Carried, Some(next)) => self.end.carry_through(&next.handle),
            (Reach::Carried, None) | (Reach::Alone, _) => self.end.carry_to(None),
        }
        let said = Said {
            reach: own.reach,
            hops: match own.reach {
                Reach::Carried => carrier.map_or(u8::MAX, |carrier| carrier.path.hops.saturating_add(1)),
                Reach::Direct | Reach::Alone => 0,
            },
            uplink: carrier.map_or(self.settings.uplink, |carrier| carrier.path.uplink),
            via: own.via,
            hub_rtt_us: own.hub_rtt_us,
        };
        drop(known);
        self.said.send_if_modified(|known| {
            let is_new = *known != said;
            *known = said;
            is_new
        });
    }

    /// Tells the core and the link who is in touch, if that changed.
    async fn tell(&self) -> Result<(), mpsc::error::SendError<Input>> {
        let found = lock(&self.known).views(Instant::now());
        let words = |list: &[NeighbourView]| -> Vec<_> { list.iter().map(steady).collect() };
        if words(&found) == words(&self.told.borrow()) {
            return Ok(());
        }
        self.told.send_replace(found.clone());
        self.inputs.send(Input::Neighbours(found)).await
    }
}

/// What of a neighbour is told when it changes; the rest changes all the time.
fn steady(view: &NeighbourView) -> NeighbourView {
    NeighbourView {
        age_ms: None,
        rtt_us: 0,
        lost_per_mille: 0,
        hub_rtt_us: 0,
        policy_age_ms: None,
        carried_packets: 0,
        carried_bytes: 0,
        dropped_packets: 0,
        ..view.clone()
    }
}

/// Never, where the local network is not asked.
async fn next(mdns: Option<&Mdns>) -> Hint {
    match mdns {
        Some(mdns) => match mdns.next().await {
            Some(hint) => hint,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

fn tls(identity: &Identity, clock: &CertificateClock) -> Result<PeerTls, TlsError> {
    PeerTls::new(identity.leaf(), identity.trust(), clock)
}

#[cfg(test)]
mod tests;
