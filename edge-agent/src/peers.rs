//! Keeps in touch with the neighbours that the policy names, or the settings where the policy names none: who is there, how each stands with the hub, and the way through it.
//!
//! One task. Of two agents the one whose name comes first makes the session, so that a pair has one. Whom to go through is decided
//! in `edge-agent-core`, and so is what a bundle or a beacon that a neighbour passed on is worth; this file only says who is in touch,
//! and gives each what it lacks. It never speaks with an agent that neither names, nor with one of another site.
//!
//! Invariant: a neighbour is listed from its first word until its session ends, and nobody is carried who is not listed.
//! Read next: `wire/transport/src/peer.rs` (a session), `wire/transport/src/tunnel.rs` (what is carried), `link.rs` (who goes through).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use edge_agent_core::{Input, Shared, carrier};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wire::AgentId;
use wire::api::NeighbourView;
use wire::frame::{Frame, Held, PeerState, Reach};
use wire_transport::{
    CertificateClock, CloseCode, Event, Limits, Met, PeerEnd, PeerError, PeerHandle, PeerTls, Sender, Timing, TlsError,
    Tunnel,
};

use crate::config::Mesh;
use crate::identity::Identity;
use crate::watch::Watch;

/// A neighbour that restarts is back within seconds; one that is gone costs a packet each so often.
const DIAL_AGAIN: Duration = Duration::from_secs(2);
/// One dial: a few lost packets on a local network.
const DIAL_WITHIN: Duration = Duration::from_secs(4);

/// Words of neighbours that may wait; whoever says more waits, in its own session.
const NEWS: usize = 64;

/// What one neighbour may pass on in [`GIFTS_WITHIN`]: a hub signs a few beacons a minute, and each thing passed on costs a signature's
/// check.
const GIFTS: u32 = 30;
const GIFTS_WITHIN: Duration = Duration::from_secs(60);

/// How this node stands with the hub, as its neighbours hear it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// In one word.
    pub reach: Reach,
    /// Where the hub is, while it is reached directly: where to carry packets.
    pub hub: Option<SocketAddr>,
}

/// What the link and the peers share.
#[derive(Debug, Clone)]
pub struct Peers {
    live: Arc<Mutex<BTreeMap<AgentId, Live>>>,
    /// The neighbours' names and states; changes wake the link.
    seen: watch::Receiver<Vec<NeighbourView>>,
    own: Arc<watch::Sender<Own>>,
    shared: Arc<watch::Sender<Arc<Shared>>>,
    identity: Arc<watch::Sender<Identity>>,
}

/// A neighbour in touch.
#[derive(Debug)]
struct Live {
    handle: PeerHandle,
    reach: Reach,
    generation: u64,
    /// Tells this session from an earlier one of the same neighbour.
    number: u64,
}

impl Peers {
    /// Starts the task; it reports who is in touch into `inputs`.
    pub fn start(
        settings: Mesh,
        identity: &Identity,
        clock: CertificateClock,
        timing: Timing,
        inputs: mpsc::Sender<Input>,
        watch: &Watch,
    ) -> std::io::Result<Self> {
        let socket = UdpSocket::bind(settings.listen)?;
        let limits = Limits {
            bytes_per_day: settings.carry_per_day,
            ..Limits::default()
        };
        let timing = Timing {
            connect: DIAL_WITHIN,
            ..timing
        };
        let tls = tls(identity, &clock).map_err(std::io::Error::other)?;
        let end = PeerEnd::new(socket, tls, timing, limits)?;
        let (told, seen) = watch::channel(Vec::new());
        let (own, heard) = watch::channel(Own {
            reach: Reach::Alone,
            hub: None,
        });
        let (shared, newest) = watch::channel(Arc::new(Shared::NOTHING));
        let (renewed, certificates) = watch::channel(identity.clone());
        let peers = Self {
            live: Arc::default(),
            seen,
            own: Arc::new(own),
            shared: Arc::new(shared),
            identity: Arc::new(renewed),
        };
        let members = settings.peers.clone();
        let task = Task {
            end,
            clock,
            name: identity.agent().clone(),
            site: identity.site().to_owned(),
            settings,
            members,
            busy: BTreeSet::new(),
            live: peers.live.clone(),
            told,
            own: heard,
            shared: newest,
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

    /// The neighbour to go through, and the way.
    pub fn carrier(&self, hub: SocketAddr) -> Option<(AgentId, Tunnel)> {
        let name = carrier(&self.seen.borrow())?.name.clone();
        let tunnel = lock(&self.live).get(&name)?.handle.tunnel(hub);
        Some((name, tunnel))
    }
}

struct Task {
    end: PeerEnd,
    clock: CertificateClock,
    name: AgentId,
    site: String,
    settings: Mesh,
    /// Who are the neighbours at present, and where.
    members: BTreeMap<AgentId, SocketAddr>,
    /// Those with a dial, a pause or a session of ours: one chain each.
    busy: BTreeSet<AgentId>,
    live: Arc<Mutex<BTreeMap<AgentId, Live>>>,
    told: watch::Sender<Vec<NeighbourView>>,
    own: watch::Receiver<Own>,
    shared: watch::Receiver<Arc<Shared>>,
    certificates: watch::Receiver<Identity>,
    inputs: mpsc::Sender<Input>,
    /// For each neighbour at most a dial or a pause after one, and a session.
    work: JoinSet<Done>,
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
    numbers: u64,
}

/// What a neighbour's task has come to.
enum Done {
    Dialled(AgentId, Result<Box<Met>, PeerError>),
    Ended(AgentId, u64),
    Paused(AgentId),
}

/// What a neighbour said, in which session.
struct News {
    peer: AgentId,
    number: u64,
    handle: PeerHandle,
    reach: Reach,
    generation: u64,
}

impl Task {
    async fn run(mut self) {
        self.dial_all();
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
                changed = self.own.changed() => match changed {
                    Ok(()) => self.end.carry_to(self.own.borrow_and_update().hub),
                    // The link is gone, and with it the reason to be in touch.
                    Err(_) => return self.end.close(wire::frame::STOPPED),
                },
                Ok(()) = self.shared.changed() => self.follow(),
                Ok(()) = self.certificates.changed() => {
                    match tls(&self.certificates.borrow_and_update(), &self.clock) {
                        Ok(tls) => self.end.replace_tls(tls),
                        Err(error) => tracing::warn!(%error, "neighbours see the old certificate"),
                    }
                }
            }
            if self.tell().await.is_err() {
                return;
            }
        }
    }

    /// Whether a session with that neighbour is ours to make.
    fn dials(&self, peer: &AgentId) -> bool {
        self.name < *peer
    }

    /// Another bundle may name other members.
    fn follow(&mut self) {
        let shared = self.shared.borrow_and_update().clone();
        let site = shared.sites.iter().find(|known| known.id == self.site);
        let mut members = site.map_or_else(|| self.settings.peers.clone(), |site| site.members.clone());
        members.remove(&self.name);
        if members == self.members {
            return;
        }
        tracing::info!(
            members = members.len(),
            by_policy = site.is_some(),
            "the neighbours are others now"
        );
        self.members = members;
        for (name, live) in lock(&self.live).iter() {
            if !self.members.contains_key(name) {
                live.handle.close("you are no neighbour of mine any more");
            }
        }
        self.dial_all();
    }

    fn dial_all(&mut self) {
        let idle = |peer: &&AgentId| !self.busy.contains(*peer);
        let peers: Vec<AgentId> = self.members.keys().filter(idle).cloned().collect();
        peers.into_iter().for_each(|peer| self.dial(peer));
    }

    fn dial(&mut self, peer: AgentId) {
        let address = self.members.get(&peer).filter(|_| self.dials(&peer));
        let Some(address) = address else {
            self.busy.remove(&peer);
            return;
        };
        self.busy.insert(peer.clone());
        let dialling = self.end.dial(peer.clone(), *address);
        self.work
            .spawn(async move { Done::Dialled(peer, dialling.await.map(Box::new)) });
    }

    /// Somebody has made a session with us.
    fn visited(&mut self, met: Met) {
        if self.members.contains_key(&met.agent) && !self.dials(&met.agent) {
            return self.begin(met);
        }
        tracing::warn!(agent = %met.agent, "no neighbour of this node: sent away");
        met.refuse("you are no neighbour of mine");
    }

    fn begin(&mut self, met: Met) {
        self.numbers += 1;
        let number = self.numbers;
        let talk = Talk {
            number,
            site: self.site.clone(),
            own: self.own.clone(),
            shared: self.shared.clone(),
            theirs: None,
            gifts: (Instant::now(), 0),
            news: self.news.0.clone(),
            inputs: self.inputs.clone(),
        };
        self.work.spawn(talk.run(met));
    }

    fn heard(&mut self, news: News) {
        let mut live = lock(&self.live);
        // A word of a session that was followed by another one counts no more.
        if live.get(&news.peer).is_none_or(|known| known.number <= news.number) {
            let known = Live {
                handle: news.handle,
                reach: news.reach,
                generation: news.generation,
                number: news.number,
            };
            live.insert(news.peer, known);
        }
    }

    fn done(&mut self, done: Done) {
        let peer = match done {
            Done::Dialled(_, Ok(met)) => return self.begin(*met),
            Done::Paused(peer) => return self.dial(peer),
            Done::Dialled(peer, Err(error)) => {
                tracing::debug!(%peer, %error, "neighbour not in touch");
                peer
            }
            Done::Ended(peer, number) => {
                let mut live = lock(&self.live);
                if live.get(&peer).is_some_and(|known| known.number == number) {
                    live.remove(&peer);
                    tracing::info!(%peer, "neighbour out of touch");
                }
                peer
            }
        };
        if self.dials(&peer) {
            self.work.spawn(async move {
                tokio::time::sleep(DIAL_AGAIN).await;
                Done::Paused(peer)
            });
        }
    }

    /// Tells the core and the link who is in touch, if that changed.
    async fn tell(&self) -> Result<(), mpsc::error::SendError<Input>> {
        let found: Vec<NeighbourView> = lock(&self.live)
            .iter()
            .map(|(name, live)| NeighbourView {
                name: name.clone(),
                reach: live.reach,
                rtt_us: u64::try_from(live.handle.rtt().as_micros()).unwrap_or(u64::MAX),
                generation: live.generation,
            })
            .collect();
        let words = |list: &[NeighbourView]| -> Vec<_> {
            list.iter()
                .map(|neighbour| (neighbour.name.clone(), neighbour.reach, neighbour.generation))
                .collect()
        };
        if words(&found) == words(&self.told.borrow()) {
            return Ok(());
        }
        self.told.send_replace(found.clone());
        self.inputs.send(Input::Neighbours(found)).await
    }
}

/// One session with a neighbour.
struct Talk {
    number: u64,
    site: String,
    own: watch::Receiver<Own>,
    shared: watch::Receiver<Arc<Shared>>,
    /// What the neighbour holds; unknown before its first word.
    theirs: Option<Held>,
    /// Since when, and how often it passed something on.
    gifts: (Instant, u32),
    news: mpsc::Sender<News>,
    inputs: mpsc::Sender<Input>,
}

impl Talk {
    /// Talks until the session ends.
    async fn run(mut self, met: Met) -> Done {
        let Met {
            agent,
            mut session,
            handle,
        } = met;
        let sender = session.sender();
        self.say(&sender);
        loop {
            tokio::select! {
                event = session.recv() => match event {
                    Event::Frame(Frame::PeerState(state)) if state.site == self.site => {
                        self.theirs = Some(state.held);
                        self.give(&sender);
                        let said = News {
                            peer: agent.clone(),
                            number: self.number,
                            handle: handle.clone(),
                            reach: state.reach,
                            generation: state.held.bundle.generation.0,
                        };
                        if self.news.send(said).await.is_err() {
                            return Done::Ended(agent, self.number);
                        }
                    }
                    Event::Frame(Frame::PeerState(state)) => {
                        tracing::warn!(peer = %agent, site = state.site, "a neighbour in the settings is of another site: sent away");
                        sender.abort(CloseCode::Protocol, "you are of another site");
                    }
                    // Only who has said of which site it is may pass something on.
                    Event::Frame(frame) if self.theirs.is_some() && is_passed_on(&frame) => {
                        if !self.may_give() {
                            tracing::warn!(peer = %agent, "a neighbour passes on too much: sent away");
                            sender.abort(CloseCode::Protocol, "you pass on too much");
                        } else if self.inputs.send(Input::Passed { frame }).await.is_err() {
                            return Done::Ended(agent, self.number);
                        }
                    }
                    // A later program may say more; it is passed over.
                    Event::Frame(_) | Event::Asked { .. } => {}
                    Event::Ended(_) => return Done::Ended(agent, self.number),
                },
                Ok(()) = self.own.changed() => self.say(&sender),
                Ok(()) = self.shared.changed() => {
                    self.say(&sender);
                    self.give(&sender);
                }
            }
        }
    }

    /// Tells how this node stands. A session that is over says so by itself.
    fn say(&mut self, sender: &Sender) {
        let _ = sender.send(&Frame::PeerState(PeerState {
            site: self.site.clone(),
            reach: self.own.borrow_and_update().reach,
            held: self.shared.borrow_and_update().held,
        }));
    }

    /// Gives the neighbour what it lacks, once: what it does not take, it does not take later either.
    fn give(&mut self, sender: &Sender) {
        let shared = self.shared.borrow().clone();
        let Some(theirs) = &mut self.theirs else { return };
        for frame in shared.lacking(theirs) {
            let _ = sender.send(&frame);
        }
        *theirs = shared.held;
    }

    /// Whether the neighbour may pass on one thing more.
    fn may_give(&mut self) -> bool {
        let (since, count) = &mut self.gifts;
        if since.elapsed() >= GIFTS_WITHIN {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        *count <= GIFTS
    }
}

const fn is_passed_on(frame: &Frame) -> bool {
    matches!(frame, Frame::Roles(_) | Frame::Bundle(_) | Frame::Beacon(_))
}

fn tls(identity: &Identity, clock: &CertificateClock) -> Result<PeerTls, TlsError> {
    PeerTls::new(identity.leaf(), identity.trust(), clock)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
