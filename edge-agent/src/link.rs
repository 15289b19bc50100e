//! Carries frames between the agent's turn loop and its hub, and keeps the certificate alive.
//!
//! One task. The core says when to connect and when to stop; this file never decides to try again. It renews the certificate over
//! the session at two thirds of its life, uses the node key when the hub does not take the certificate any more, and remembers where
//! the hub was when DNS does not. While the hub does not answer on this node's own path, it goes through a neighbour, and back once
//! its own path holds (`edge-agent/core/src/mesh`). Nothing the turn loop calls here waits.
//!
//! Invariant: for each `connect` there is one `LinkUp` followed by one `LinkDown`, or one `LinkDown`; frames come between the two.
//! Read next: `identity.rs` (what is renewed), `wire/transport/src/framed.rs` (a session).

mod trouble;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use edge_agent_core::{Homing, Input, carrier, could_carry, is_there_another};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wire::AgentId;
use wire::api::NeighbourView;
use wire::enroll::{EnrollAnswer, LEAVE_TAG, LeaveAnswer, LeaveRequest, RENEW_TAG};
use wire::frame::{Frame, Reach, STOPPED};
use wire::time::{Mono, Wall};
use wire_transport::{
    CertificateClock, Client, ClientTls, CloseCode, ConnectError, DoorError, End, Event, Knocker, SendError, Sender,
    Session, Timing, TlsError,
};

use crate::clock::boot_ms;
use crate::identity::{Identity, IdentityError, cache_address, cached_address, reachable_first, resolve};
use crate::peers::{Own, Peers, Through};
use crate::watch::Watch;
use trouble::Kind;

/// The core has one wish at a time: connect, disconnect, stop; one more of each may wait behind it.
const ORDERS: usize = 8;
/// How often the clock is looked at again while the certificate is young: after a suspend, sleeps have lost time.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// A renewal that failed is tried again after this, or after a twentieth of the certificate's life if that is less.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// A hub's time that lies further ahead of the hub's present time than this was wrong; less is what a hub's clock is set by.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3600);
/// The part of the node that has a finding while the hub cannot be talked to for a reason that does not pass by itself.
const PART: &str = "link";

/// A hub whose path works answers a knock within this time, of three: 300 ms suffice for a satellite with a little loss.
const KNOCK_WITHIN: Duration = Duration::from_millis(900);
const KNOCKS: u32 = 3;
/// A machine that has no hub says so at once, or never.
const REFUSED_WITHIN: Duration = Duration::from_millis(300);

/// What the link needs to know.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// The agent's state folder.
    pub state_dir: PathBuf,
    /// `HOST:PORT` instead of the one in the identity.
    pub hub: Option<String>,
    /// The times of a connection.
    pub timing: Timing,
    /// Spreads the renewals of a fleet.
    pub seed: u64,
    /// The neighbours, if this node has any.
    pub peers: Option<Peers>,
    /// Told when the hub has given this node another name: the process then starts again under it.
    pub renamed: mpsc::Sender<AgentId>,
}

/// The handle that the turn loop holds.
#[derive(Debug)]
pub struct Link {
    orders: mpsc::Sender<Order>,
    up: Up,
    peers: Option<Peers>,
    task: JoinHandle<()>,
}

/// Who is in touch, as it changes.
type Seen = watch::Receiver<Vec<NeighbourView>>;

/// The session that is up.
type Up = Arc<Mutex<Option<Sender>>>;

#[derive(Debug)]
enum Order {
    Connect,
    Disconnect(String),
    Stop,
}

impl Link {
    /// Starts the task. It reports into `inputs` and waits there when that is full.
    pub fn start(
        identity: Identity,
        clock: CertificateClock,
        settings: LinkSettings,
        inputs: mpsc::Sender<Input>,
        watch: &Watch,
    ) -> Self {
        let (orders, received) = mpsc::channel(ORDERS);
        let up = Up::default();
        let peers = settings.peers.clone();
        let runner = Runner {
            clock,
            seen: settings.peers.as_ref().map(Peers::seen),
            homing: Homing::default(),
            renamed: None,
            trouble: None,
            identity,
            settings,
            inputs,
            up: up.clone(),
        };
        let task = tokio::spawn(watch.task("link", runner.run(received)));
        Self {
            orders,
            up,
            peers,
            task,
        }
    }

    /// The neighbours, if this node has any.
    pub fn peers(&self) -> Option<&Peers> {
        self.peers.as_ref()
    }

    /// Tries to make a session.
    pub fn connect(&self) {
        self.order(Order::Connect);
    }

    /// Sends a frame on the session that is up; forgets it if none is. If the hub does not read, the session ends.
    pub fn send(&self, frame: &Frame) {
        let sender = lock(&self.up).clone();
        let Some(sender) = sender else { return };
        if let Err(SendError::Full {
            queued_bytes,
            limit_bytes,
        }) = sender.send(frame)
        {
            tracing::warn!(queued_bytes, limit_bytes, "hub does not read, session ended");
            sender.abort(CloseCode::Slow, "you do not read");
        }
    }

    /// Ends the session that is up: at once, because its path is dead or what was sent on it does not count; only a node that
    /// stops delivers first what was sent.
    pub fn disconnect(&self, reason: &str) {
        self.order(Order::Disconnect(reason.to_owned()));
    }

    /// Ends everything; what was sent is delivered within two seconds or not at all.
    pub async fn stop(self) {
        // Both errors mean that the task has ended already.
        let _ = self.orders.send(Order::Stop).await;
        let _ = self.task.await;
    }

    fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::error!("the link does not take orders any more");
        }
    }
}

struct Runner {
    identity: Identity,
    settings: LinkSettings,
    clock: CertificateClock,
    inputs: mpsc::Sender<Input>,
    up: Up,
    /// Changes when a neighbour comes, goes, or stands otherwise with the hub.
    seen: Option<Seen>,
    homing: Homing,
    /// The name that the hub has given this node meanwhile.
    renamed: Option<AgentId>,
    /// Why there is no session, where somebody has to do something about it.
    trouble: Option<Kind>,
}

/// By which way packets go to the hub.
#[derive(Debug, Clone)]
enum Way {
    /// Over a path of our own.
    Direct,
    /// A neighbour carries them.
    Through(Through),
}

/// A session, and what it stands on.
struct Path {
    session: Session,
    client: Client,
    hub: SocketAddr,
    via: Option<Through>,
}

/// Why there is no session, or no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The hub's name leads nowhere.
    #[error("cannot find the hub `{hub}`: {cause}")]
    Name {
        /// The name.
        hub: String,
        /// What the resolver says.
        cause: std::io::Error,
    },
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A question without an answer.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The hub says no.
    #[error("the hub refuses a new certificate: {detail}")]
    Refused {
        /// Why.
        detail: String,
    },
    /// The identity's file.
    #[error("{0}")]
    Identity(#[from] IdentityError),
    /// The certificate.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// It is not wanted any more.
    #[error("{reason}")]
    Unwanted {
        /// Why.
        reason: String,
    },
    /// A thread of this process.
    #[error("the disk's thread has died")]
    Thread,
}

/// A renewal under way.
type Renewal = Pin<Box<dyn Future<Output = Result<Identity, LinkError>> + Send>>;

/// How a session ended.
enum After {
    Down(String),
    Stop,
}

impl Runner {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Connect => {}
                // Nothing is up, so there is nothing to end and nothing to report.
                Order::Disconnect(_) => continue,
                Order::Stop => return,
            }
            let (result, stopped) = self.connect_unless_stopped(&mut orders).await;
            if stopped {
                return;
            }
            let failed = result.as_ref().err();
            if let Some(error) = failed {
                tracing::debug!(%error, "no session");
            }
            if self.explain(failed).await.is_err() {
                return;
            }
            let reason = match result {
                Ok(path) => {
                    let via = path.via.as_ref().map(|via| tracing::field::display(&via.neighbour));
                    tracing::info!(hub = %path.hub, via, "in session");
                    let after = self.carry(path, &mut orders).await;
                    self.stand(Own::ALONE);
                    match after {
                        After::Down(reason) => {
                            tracing::info!(reason, "session ended");
                            reason
                        }
                        After::Stop => return,
                    }
                }
                Err(error) => error.to_string(),
            };
            if self.tell(Input::LinkDown { reason }).await.is_err() {
                return;
            }
        }
    }

    /// A stop or a disconnect cuts a connect short; a neighbour that could carry now, or no more, begins it anew.
    async fn connect_unless_stopped(&mut self, orders: &mut mpsc::Receiver<Order>) -> (Result<Path, LinkError>, bool) {
        let mut seen = self.seen.clone();
        let me = self.identity.agent().clone();
        let mut connecting = Box::pin(self.connect());
        loop {
            tokio::select! {
                () = turns(&mut seen, &me) => {
                    drop(connecting);
                    connecting = Box::pin(self.connect());
                }
                result = &mut connecting => return (result, false),
                order = orders.recv() => match order {
                    None | Some(Order::Stop) => return (Err(LinkError::Thread), true),
                    Some(Order::Disconnect(reason)) => return (Err(LinkError::Unwanted { reason }), false),
                    Some(Order::Connect) => {}
                },
            }
        }
    }

    /// Tells people why there is no session: a finding, and one line at `warn` for each kind of reason, where it does not pass by
    /// itself.
    async fn explain(&mut self, error: Option<&LinkError>) -> Result<(), mpsc::error::SendError<Input>> {
        let lasting = error.filter(|error| error.lasts());
        let kind = lasting.map(LinkError::kind);
        if kind.is_none() && self.trouble.is_none() {
            return Ok(());
        }
        if let Some(error) = lasting.filter(|_| kind != self.trouble) {
            tracing::warn!(%error, "no session with the hub");
        }
        self.trouble = kind;
        let why = lasting.map(|error| format!("no session with the hub: {error}"));
        let part = PART.to_owned();
        self.tell(Input::Finding { part, why }).await
    }

    async fn connect(&mut self) -> Result<Path, LinkError> {
        // What the core has made is under the former name.
        if let Some(name) = &self.renamed {
            let reason = format!("this node starts again as `{name}`");
            return Err(LinkError::Unwanted { reason });
        }
        let mut last = None;
        for address in self.addresses().await? {
            let way = self.way_to(address).await;
            match self.connect_to(address, &way).await {
                Ok(path) => {
                    self.remember(address).await;
                    return Ok(path);
                }
                Err(error) => {
                    self.ask_machine(address).await;
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or(LinkError::Thread))
    }

    /// Learns whether the hub's machine says that nobody listens there: then the hub is away, and no path is cut.
    async fn ask_machine(&self, address: SocketAddr) {
        let Some(knocker) = self.settings.peers.as_ref().and_then(|_| Knocker::new(address).ok()) else {
            return;
        };
        let answers = knocker.knock(1, REFUSED_WITHIN).await;
        let refused = knocker.was_refused() && !answers;
        // An error means that the turn loop has ended.
        let _ = self.tell(Input::HubAsked { refused }).await;
    }

    /// Our own path, unless the hub does not answer on it and does by way of a neighbour; of several, the one that answers first.
    async fn way_to(&self, address: SocketAddr) -> Way {
        let ways = self
            .settings
            .peers
            .as_ref()
            .map_or_else(Vec::new, |peers| peers.ways(address));
        // What a system that gives no socket says is told by the connect.
        let Some(own) = Knocker::new(address).ok().filter(|_| !ways.is_empty()) else {
            return Way::Direct;
        };
        let mut knocks = tokio::task::JoinSet::new();
        for way in ways {
            knocks.spawn(async move {
                let answers = Knocker::through(way.tunnel.clone()).knock(KNOCKS, KNOCK_WITHIN).await;
                answers.then_some(way)
            });
        }
        if own.knock(KNOCKS, KNOCK_WITHIN).await {
            return Way::Direct;
        }
        // All were asked when the own path was, so none takes long any more.
        let cost = |way: &Through| (way.doubted, way.metered);
        let mut cheapest: Option<Through> = None;
        while let Some(answer) = knocks.join_next().await {
            let Ok(Some(way)) = answer else { continue };
            if cost(&way) == (false, false) {
                return Way::Through(way);
            }
            if cheapest.as_ref().is_none_or(|known| cost(&way) < cost(known)) {
                cheapest = Some(way);
            }
        }
        cheapest.map_or(Way::Direct, Way::Through)
    }

    async fn connect_to(&mut self, address: SocketAddr, way: &Way) -> Result<Path, LinkError> {
        // Whether the certificate has ended is for the hub's clock to say: by this one, which may be years ahead, a node would use up
        // the rejoins that it has.
        match self.try_session(address, way).await {
            Err(LinkError::Connect(cause)) if wants_another_certificate(&cause) => {
                self.rejoin(address, way).await?;
                match &self.renamed {
                    Some(name) => Err(LinkError::Unwanted {
                        reason: format!("this node starts again as `{name}`"),
                    }),
                    None => self.try_session(address, way).await,
                }
            }
            other => other,
        }
    }

    async fn try_session(&self, hub: SocketAddr, way: &Way) -> Result<Path, LinkError> {
        let tls = ClientTls::session(self.identity.leaf(), self.identity.trust(), &self.clock)?;
        let client = self.client(hub, way)?;
        let made = client.session(hub, &tls).await;
        // The hub had answered by that way a moment ago.
        if let (Err(ConnectError::Unreachable { .. }), Way::Through(way)) = (&made, way) {
            self.doubt(way, Duration::ZERO);
        }
        Ok(Path {
            session: made?,
            client,
            hub,
            via: match way {
                Way::Direct => None,
                Way::Through(way) => Some(way.clone()),
            },
        })
    }

    /// A socket of its own for each try: an old one may be bound to a network that is gone.
    fn client(&self, hub: SocketAddr, way: &Way) -> Result<Client, ConnectError> {
        match way {
            Way::Direct => Client::new(hub, self.settings.timing),
            Way::Through(way) => Client::through(way.tunnel.clone(), self.settings.timing),
        }
    }

    /// Gets a new certificate by the node key.
    async fn rejoin(&mut self, address: SocketAddr, way: &Way) -> Result<(), LinkError> {
        let identity = self.identity.clone();
        let identity = blocking(move || identity.prepare()).await?;
        let tls = ClientTls::rejoin(identity.trust(), &self.clock)?;
        let client = self.client(address, way)?;
        let visit = client.visit(address, &tls).await?;
        let mut door = visit.answer().await?;
        let mut challenge = [0; 32];
        door.read_raw(&mut challenge).await?;
        door.write(&identity.rejoin_request(&challenge, &door.exporter())?)
            .await?;
        let answer = door.read().await?;
        visit.leave();
        let identity = take(identity, answer).await?;
        tracing::info!(rejoins = identity.rejoins(), "rejoined by the node key");
        self.renewed(identity).await;
        Ok(())
    }

    /// Until the session ends.
    async fn carry(&mut self, mut path: Path, orders: &mut mpsc::Receiver<Order>) -> After {
        let sender = path.session.sender();
        *lock(&self.up) = Some(sender.clone());
        let after = self.drive(&mut path, &sender, orders).await;
        *lock(&self.up) = None;
        after
    }

    /// A session by way of a neighbour was lost, and neither it nor the hub has said why.
    fn doubt(&self, way: &Through, lasted: Duration) {
        tracing::info!(via = %way.neighbour, ?lasted, "the session through this neighbour did not hold: others are tried before it");
        if let Some(peers) = &self.settings.peers {
            peers.doubt(&way.neighbour, lasted);
        }
    }

    async fn drive(&mut self, path: &mut Path, sender: &Sender, orders: &mut mpsc::Receiver<Order>) -> After {
        let Path {
            session,
            client,
            hub,
            via,
        } = path;
        if via.is_some() {
            self.homing.carried(now());
            if self.tell(path_input(via.as_ref())).await.is_err() {
                return After::Stop;
            }
        }
        self.stand_on(via.as_ref(), *hub, session.rtt());
        if self.tell(Input::LinkUp).await.is_err() {
            return After::Stop;
        }
        let mut seen = self.seen.clone();
        // What changed while the session was made is looked at, too.
        seen.iter_mut().for_each(watch::Receiver::mark_changed);
        let me = self.identity.agent().clone();
        let mut home = Home::new(via.is_some(), *hub, self.homing.next_in());
        let mut stopping = false;
        let mut ended_here = None;
        // When it began to go by the present way.
        let mut since = Instant::now();
        let mut renewal: Option<Renewal> = None;
        let mut look = Box::pin(tokio::time::sleep(self.until_renewal()));
        loop {
            tokio::select! {
                event = session.recv() => match event {
                    Event::Frame(frame) => {
                        if let Frame::Welcome(welcome) = &frame {
                            self.clock.learn(welcome.now.wall);
                            // Until now only this machine's clock could say when.
                            look = Box::pin(tokio::time::sleep(self.until_renewal()));
                        }
                        if self.tell(Input::Frame(frame)).await.is_err() {
                            return After::Stop;
                        }
                    }
                    Event::Ended(_) if stopping => return After::Stop,
                    Event::Ended(end) => {
                        let end = ended_here.unwrap_or(end);
                        let is_lost = matches!(end, End::Idle | End::Failed { .. } | End::Local { .. });
                        if let Some(way) = via.as_ref().filter(|_| is_lost) {
                            self.doubt(way, since.elapsed());
                        }
                        return After::Down(end.to_string());
                    }
                    // Only an agent asks.
                    Event::Asked { .. } => {}
                },
                order = orders.recv() => match order {
                    // One is up: the core asks for another only after it was told of this one's end.
                    Some(Order::Connect) => tracing::error!("asked to connect while a session is up"),
                    Some(Order::Disconnect(reason)) if reason == STOPPED => sender.close(CloseCode::Stopping, &reason),
                    Some(Order::Disconnect(reason)) => {
                        sender.abort(CloseCode::Done, &reason);
                        ended_here.get_or_insert(End::Local { reason });
                    }
                    Some(Order::Stop) | None => {
                        stopping = true;
                        sender.close(CloseCode::Stopping, STOPPED);
                    }
                },
                better = better(&mut seen, via.as_ref(), (&me, self.settings.peers.as_ref(), *hub)), if ended_here.is_none() => {
                    let moved = better.and_then(|way| match client.go_through(way.tunnel.clone()) {
                        Ok(()) => Some(way),
                        Err(error) => {
                            tracing::warn!(%error, "cannot move to another neighbour");
                            None
                        }
                    });
                    match moved {
                        Some(way) => {
                            tracing::info!(via = %way.neighbour, "another neighbour carries the session from here on");
                            *via = Some(way);
                            since = Instant::now();
                            self.stand_on(via.as_ref(), *hub, session.rtt());
                            if self.tell(path_input(via.as_ref())).await.is_err() {
                                return After::Stop;
                            }
                        }
                        None => {
                            sender.abort(CloseCode::Done, "the neighbour is out of touch");
                            ended_here.get_or_insert(End::Local { reason: "the neighbour that carried it is out of touch".to_owned() });
                            *via = None;
                        }
                    }
                }
                answered = home.asked() => {
                    if self.homing.asked(answered, now()) {
                        match client.go_direct(*hub) {
                            Ok(()) => {
                                tracing::info!(%hub, "the path of this node's own holds again, back on it");
                                *via = None;
                                self.stand_on(None, *hub, session.rtt());
                                if self.tell(path_input(None)).await.is_err() {
                                    return After::Stop;
                                }
                            }
                            Err(error) => tracing::warn!(%error, "cannot go back to a path of this node's own"),
                        }
                    }
                    home = Home::new(via.is_some(), *hub, self.homing.next_in());
                }
                () = &mut look, if renewal.is_none() && !stopping => {
                    if self.until_renewal().is_zero() {
                        renewal = Some(Box::pin(renew(self.identity.clone(), sender.clone())));
                    } else {
                        look = Box::pin(tokio::time::sleep(self.until_renewal()));
                    }
                }
                result = finished(&mut renewal) => {
                    renewal = None;
                    let next = match result {
                        Ok(identity) => {
                            tracing::info!(generation = identity.generation(), "certificate renewed");
                            self.renewed(identity).await;
                            self.until_renewal()
                        }
                        Err(error) => {
                            tracing::warn!(%error, ends = %self.identity.certificate_ends(), "certificate not renewed");
                            RENEW_AGAIN.min(self.life() / 20)
                        }
                    };
                    look = Box::pin(tokio::time::sleep(next));
                }
            }
        }
    }

    async fn renewed(&mut self, identity: Identity) {
        self.clock.learn(identity.certificate_issued());
        if identity.agent() != self.identity.agent() {
            tracing::info!(from = %self.identity.agent(), to = %identity.agent(), "the hub has given this node another name");
            self.renamed = Some(identity.agent().clone());
            // An error means that the turn loop has ended: the next start has the new name in any case.
            let _ = self.settings.renamed.send(identity.agent().clone()).await;
        }
        let news = Input::Certificate {
            ends: identity.certificate_ends(),
            rejoins: identity.rejoins(),
        };
        self.identity = identity;
        if let Some(peers) = &self.settings.peers {
            peers.renewed(&self.identity);
        }
        // An error means that the turn loop has ended; the task notices at its next report.
        let _ = self.tell(news).await;
    }

    /// Time until two thirds of the certificate's life, earlier or later by up to a tenth of that, so that a fleet that joined
    /// together does not renew together. At most [`LOOK_AGAIN`]. A certificate of a time that has not come is replaced at once: the
    /// hub's clock ran ahead when it made it.
    fn until_renewal(&self) -> Duration {
        let ahead_ms = self.identity.certificate_issued().0.saturating_sub(self.clock.now().0);
        if self.clock.is_learned() && ahead_ms > CLOCKS_DIFFER.as_millis() as i64 {
            return Duration::ZERO;
        }
        let salt = self.settings.seed ^ self.identity.generation();
        let due = renewal_due(self.identity.certificate_issued(), self.life(), salt);
        let left = u64::try_from(due.0.saturating_sub(self.clock.now().0)).unwrap_or(0);
        Duration::from_millis(left).min(LOOK_AGAIN)
    }

    fn life(&self) -> Duration {
        let life = self.identity.certificate_ends().0 - self.identity.certificate_issued().0;
        Duration::from_millis(u64::try_from(life).unwrap_or(0))
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, LinkError> {
        let hub = self
            .settings
            .hub
            .clone()
            .unwrap_or_else(|| self.identity.hub().to_owned());
        match resolve(&hub).await {
            Ok(addresses) => Ok(reachable_first(addresses).await),
            Err(cause) => {
                let state_dir = self.settings.state_dir.clone();
                let cached = blocking(move || Ok(cached_address(&state_dir))).await?;
                match cached {
                    Some(address) => {
                        tracing::warn!(hub, %address, error = %cause, "name not found, using the last address");
                        Ok(vec![address])
                    }
                    None => Err(LinkError::Name { hub, cause }),
                }
            }
        }
    }

    async fn remember(&self, address: SocketAddr) {
        let state_dir = self.settings.state_dir.clone();
        let result = blocking(move || {
            if cached_address(&state_dir) == Some(address) {
                return Ok(());
            }
            cache_address(&state_dir, address)
        });
        if let Err(error) = result.await {
            tracing::warn!(%error, "the hub's address is not kept");
        }
    }

    /// The neighbours hear whether this node could carry them.
    fn stand_on(&self, via: Option<&Through>, hub: SocketAddr, rtt: Duration) {
        self.stand(Own {
            reach: if via.is_some() { Reach::Carried } else { Reach::Direct },
            hub: Some(hub),
            via: via.map(|via| via.neighbour.clone()),
            hub_rtt_us: u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX),
        });
    }

    fn stand(&self, own: Own) {
        if let Some(peers) = &self.settings.peers {
            peers.stand(own);
        }
    }

    async fn tell(&self, input: Input) -> Result<(), mpsc::error::SendError<Input>> {
        self.inputs.send(input).await
    }
}

/// Tells the hub that this machine leaves. Takes as long as the hub is away, and no other process may use the identity meanwhile.
pub async fn say_goodbye(
    identity: Identity,
    clock: CertificateClock,
    state_dir: &std::path::Path,
) -> Result<(), LinkError> {
    // Nobody turns here, so nothing is told to anybody.
    let (inputs, _ears) = mpsc::channel(ORDERS);
    let (renamed, _name) = mpsc::channel(1);
    let mut runner = Runner {
        settings: LinkSettings {
            state_dir: state_dir.to_owned(),
            hub: None,
            timing: Timing::default(),
            seed: 0,
            peers: None,
            renamed,
        },
        clock,
        identity,
        inputs,
        up: Up::default(),
        seen: None,
        homing: Homing::default(),
        renamed: None,
        trouble: None,
    };
    let Path { mut session, .. } = runner.connect().await?;
    let sender = session.sender();
    let request = LeaveRequest {
        agent: runner.identity.agent().clone(),
    };
    let mut asking = Box::pin(sender.ask(LEAVE_TAG, &request));
    loop {
        tokio::select! {
            answer = &mut asking => {
                sender.close(CloseCode::Stopping, STOPPED);
                return match answer? {
                    LeaveAnswer::Left => Ok(()),
                    LeaveAnswer::Refused { detail } => Err(LinkError::Unwanted { reason: detail }),
                };
            }
            event = session.recv() => if let Event::Ended(end) = event {
                return Err(LinkError::Unwanted { reason: end.to_string() });
            },
        }
    }
}

async fn renew(identity: Identity, sender: Sender) -> Result<Identity, LinkError> {
    let identity = blocking(move || identity.prepare()).await?;
    let answer = sender.ask(RENEW_TAG, &identity.renew_request()?).await?;
    take(identity, answer).await
}

/// Whether the hub would take another certificate of this node: its own has ended, or it is under another name.
fn wants_another_certificate(cause: &ConnectError) -> bool {
    matches!(
        cause,
        ConnectError::Expired { .. }
            | ConnectError::Refused { .. }
            | ConnectError::Closed {
                code: CloseCode::Denied,
                ..
            }
    )
}

async fn take(identity: Identity, answer: EnrollAnswer) -> Result<Identity, LinkError> {
    match answer {
        EnrollAnswer::Granted(credentials) => blocking(move || identity.complete(*credentials)).await,
        EnrollAnswer::Refused { detail, .. } => Err(LinkError::Refused { detail }),
    }
}

/// Asks from time to time whether the hub answers on a path of this node's own, while a neighbour carries its session.
struct Home(Option<Pin<Box<dyn Future<Output = bool> + Send>>>);

impl Home {
    fn new(is_carried: bool, hub: SocketAddr, wait: Duration) -> Self {
        let ask = async move {
            tokio::time::sleep(wait).await;
            match Knocker::new(hub) {
                Ok(knocker) => knocker.knock(1, KNOCK_WITHIN).await,
                Err(_) => false,
            }
        };
        Self(is_carried.then(|| -> Pin<Box<dyn Future<Output = bool> + Send>> { Box::pin(ask) }))
    }

    /// Never, if nothing is asked.
    async fn asked(&mut self) -> bool {
        match &mut self.0 {
            Some(ask) => ask.await,
            None => std::future::pending().await,
        }
    }
}

fn path_input(via: Option<&Through>) -> Input {
    Input::Path {
        via: via.map(|via| via.neighbour.clone()),
        metered: via.is_some_and(|via| via.metered),
    }
}

/// Waits until a neighbour could carry that could not before, or none where one could.
async fn turns(seen: &mut Option<Seen>, me: &AgentId) {
    let Some(seen) = seen else {
        return std::future::pending().await;
    };
    let before = seen.borrow_and_update().clone();
    let turns = |now: &Vec<NeighbourView>| {
        is_there_another(me, &before, now) || carrier(me, &before).is_some() && carrier(me, now).is_none()
    };
    if seen.wait_for(turns).await.is_err() {
        std::future::pending().await
    }
}

/// Waits until another neighbour is a better way than the one that carries; `None`: that one carries no more, and no other could.
async fn better(
    seen: &mut Option<Seen>,
    via: Option<&Through>,
    (me, peers, hub): (&AgentId, Option<&Peers>, SocketAddr),
) -> Option<Through> {
    let (Some(seen), Some(via), Some(peers)) = (seen, via, peers) else {
        return std::future::pending().await;
    };
    loop {
        // An error: the peers' task has ended, and with it every way through it.
        if seen.changed().await.is_err() {
            return None;
        }
        let carries = |neighbour: &NeighbourView| neighbour.name == via.neighbour && could_carry(me, neighbour);
        let is_lost = !seen.borrow_and_update().iter().any(carries);
        let better = peers.better_way(&via.neighbour, hub);
        if better.is_some() || is_lost {
            return better;
        }
    }
}

fn now() -> Mono {
    Mono(boot_ms())
}

/// Never, if none is under way.
async fn finished(renewal: &mut Option<Renewal>) -> Result<Identity, LinkError> {
    match renewal {
        Some(renewal) => renewal.await,
        None => std::future::pending().await,
    }
}

/// The disk may be slow; the runtime's thread is not kept by it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IdentityError> + Send + 'static,
) -> Result<T, LinkError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(LinkError::Thread),
    }
}

/// When to renew: `salt` picks a place between 60 % and 73.3 % of the life.
fn renewal_due(issued: Wall, life: Duration, salt: u64) -> Wall {
    // splitmix64's mixer (Steele, Lea, Flood 2014).
    let mut z = salt.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let per_mille = i64::try_from(600 + (z >> 32) % 134).unwrap_or(667);
    let life_ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX / 1000);
    Wall(issued.0.saturating_add(life_ms / 1000 * per_mille))
}

fn lock(up: &Up) -> std::sync::MutexGuard<'_, Option<Sender>> {
    up.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
