//! Carries frames between the agent's turn loop and its hub, and keeps the certificate alive.
//!
//! One task. The core says when to connect and when to stop; this file never decides to try again. It renews the certificate over
//! the session at two thirds of its life, uses the node key when the hub does not take the certificate any more, and remembers where
//! the hub was when DNS does not. Nothing the turn loop calls here waits.
//!
//! Invariant: for each `connect` there is one `LinkUp` followed by one `LinkDown`, or one `LinkDown`; frames come between the two.
//! Read next: `identity.rs` (what is renewed), `wire/transport/src/framed.rs` (a session).

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edge_agent_core::Input;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wire::enroll::{EnrollAnswer, RENEW_TAG};
use wire::frame::{Frame, STOPPED};
use wire::time::Wall;
use wire_transport::{
    CertificateClock, Client, ClientTls, CloseCode, ConnectError, DoorError, End, Event, SendError, Sender, Session,
    Timing, TlsError,
};

use crate::identity::{Identity, IdentityError, cache_address, cached_address, resolve};
use crate::watch::Watch;

/// The core has one wish at a time: connect, disconnect, stop; one more of each may wait behind it.
const ORDERS: usize = 8;
/// How often the clock is looked at again while the certificate is young: after a suspend, sleeps have lost time.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// A renewal that failed is tried again after this, or after a twentieth of the certificate's life if that is less.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

/// What the link needs to know.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// The agent's state folder.
    pub state_dir: PathBuf,
    /// `HOST:PORT` instead of the one in the identity.
    pub hub: Option<String>,
    /// A time that is certainly past.
    pub wall_floor: Wall,
    /// The times of a connection.
    pub timing: Timing,
    /// Spreads the renewals of a fleet.
    pub seed: u64,
}

/// The handle that the turn loop holds.
#[derive(Debug)]
pub struct Link {
    orders: mpsc::Sender<Order>,
    up: Up,
    task: JoinHandle<()>,
}

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
    pub fn start(identity: Identity, settings: LinkSettings, inputs: mpsc::Sender<Input>, watch: &Watch) -> Self {
        let (orders, received) = mpsc::channel(ORDERS);
        let up = Up::default();
        let runner = Runner {
            clock: CertificateClock::new(settings.wall_floor.max(identity.certificate_issued())),
            identity,
            settings,
            inputs,
            up: up.clone(),
        };
        let task = tokio::spawn(watch.task("link", runner.run(received)));
        Self { orders, up, task }
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
}

/// Why there is no session, or no new certificate.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("cannot find the hub `{hub}`: {cause}")]
    Name { hub: String, cause: std::io::Error },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Door(#[from] DoorError),
    #[error("the hub refuses a new certificate: {detail}")]
    Refused { detail: String },
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("{reason}")]
    Unwanted { reason: String },
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
            let reason = match result {
                Ok(session) => {
                    tracing::info!(hub = %session.remote_address(), "in session");
                    match self.carry(session, &mut orders).await {
                        After::Down(reason) => {
                            tracing::info!(reason, "session ended");
                            reason
                        }
                        After::Stop => return,
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "no session");
                    error.to_string()
                }
            };
            if self.tell(Input::LinkDown { reason }).await.is_err() {
                return;
            }
        }
    }

    /// A stop or a disconnect cuts a connect short.
    async fn connect_unless_stopped(
        &mut self,
        orders: &mut mpsc::Receiver<Order>,
    ) -> (Result<Session, LinkError>, bool) {
        let mut connecting = Box::pin(self.connect());
        loop {
            tokio::select! {
                result = &mut connecting => return (result, false),
                order = orders.recv() => match order {
                    None | Some(Order::Stop) => return (Err(LinkError::Thread), true),
                    Some(Order::Disconnect(reason)) => return (Err(LinkError::Unwanted { reason }), false),
                    Some(Order::Connect) => {}
                },
            }
        }
    }

    async fn connect(&mut self) -> Result<Session, LinkError> {
        let mut last = None;
        for address in self.addresses().await? {
            match self.connect_to(address).await {
                Ok(session) => {
                    self.remember(address).await;
                    return Ok(session);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(LinkError::Thread))
    }

    async fn connect_to(&mut self, address: SocketAddr) -> Result<Session, LinkError> {
        if self.identity.certificate_ends() <= self.clock.now() {
            self.rejoin(address).await?;
        }
        match self.try_session(address).await {
            Err(LinkError::Connect(ConnectError::Expired { .. } | ConnectError::Refused { .. })) => {
                self.rejoin(address).await?;
                self.try_session(address).await
            }
            other => other,
        }
    }

    async fn try_session(&self, address: SocketAddr) -> Result<Session, LinkError> {
        let tls = ClientTls::session(self.identity.leaf(), self.identity.trust(), &self.clock)?;
        // A socket of its own for each try: an old one may be bound to a network that is gone.
        let client = Client::new(address, self.settings.timing)?;
        Ok(client.session(address, &tls).await?)
    }

    /// Gets a new certificate by the node key.
    async fn rejoin(&mut self, address: SocketAddr) -> Result<(), LinkError> {
        let identity = self.identity.clone();
        let identity = blocking(move || identity.prepare()).await?;
        let tls = ClientTls::rejoin(identity.trust(), &self.clock)?;
        let client = Client::new(address, self.settings.timing)?;
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
    async fn carry(&mut self, mut session: Session, orders: &mut mpsc::Receiver<Order>) -> After {
        let sender = session.sender();
        *lock(&self.up) = Some(sender.clone());
        let after = self.drive(&mut session, &sender, orders).await;
        *lock(&self.up) = None;
        after
    }

    async fn drive(&mut self, session: &mut Session, sender: &Sender, orders: &mut mpsc::Receiver<Order>) -> After {
        if self.tell(Input::LinkUp).await.is_err() {
            return After::Stop;
        }
        let mut stopping = false;
        let mut ended_here = None;
        let mut renewal: Option<Renewal> = None;
        let mut look = Box::pin(tokio::time::sleep(self.until_renewal()));
        loop {
            tokio::select! {
                event = session.recv() => match event {
                    Event::Frame(frame) => {
                        if let Frame::Welcome(welcome) = &frame {
                            self.clock.learn(welcome.now.wall);
                        }
                        if self.tell(Input::Frame(frame)).await.is_err() {
                            return After::Stop;
                        }
                    }
                    Event::Ended(_) if stopping => return After::Stop,
                    Event::Ended(end) => return After::Down(ended_here.unwrap_or(end).to_string()),
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
        let news = Input::Certificate {
            ends: identity.certificate_ends(),
            rejoins: identity.rejoins(),
        };
        self.identity = identity;
        // An error means that the turn loop has ended; the task notices at its next report.
        let _ = self.tell(news).await;
    }

    /// Time until two thirds of the certificate's life, earlier or later by up to a tenth of that, so that a fleet that joined
    /// together does not renew together. At most [`LOOK_AGAIN`].
    fn until_renewal(&self) -> Duration {
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
            Ok(addresses) => Ok(addresses),
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

    async fn tell(&self, input: Input) -> Result<(), mpsc::error::SendError<Input>> {
        self.inputs.send(input).await
    }
}

async fn renew(identity: Identity, sender: Sender) -> Result<Identity, LinkError> {
    let identity = blocking(move || identity.prepare()).await?;
    let answer = sender.ask(RENEW_TAG, &identity.renew_request()?).await?;
    take(identity, answer).await
}

async fn take(identity: Identity, answer: EnrollAnswer) -> Result<Identity, LinkError> {
    match answer {
        EnrollAnswer::Granted(credentials) => blocking(move || identity.complete(*credentials)).await,
        EnrollAnswer::Refused { detail, .. } => Err(LinkError::Refused { detail }),
    }
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
