//! Takes connections from agents and carries what they say to the turn loop and back.
//!
//! Each session is one task; it waits for the turn loop (a bounded channel), never the other way round. A session whose other
//! end does not read is ended. Questions about certificates come here too; the core answers them.
//!
//! Invariant: for every `SessionOpened` there is one `SessionClosed`, after the last `Frame` of that session.
//! Read next: `wire/transport/src/framed.rs` (a session), `enroll.rs` (who gets in).

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hub_core::{Input, SessionId};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use wire::enroll::{EnrollAnswer, JoinRequest, LEAVE_TAG, LeaveRequest, RENEW_TAG, RejoinRequest, RenewRequest};
use wire::frame::Frame;
use wire::ids::AgentId;
use wire::time::{BUILD_FLOOR, Wall};
use wire_transport::{
    Arrival, CertificateClock, CloseCode, Crowd, Door, DoorError, End, Event, Guest, Pending, Sender, Server,
    ServerTls, Session, Timing, TlsError,
};

use crate::ca::{Ca, CaError, HUB_LEAF_LOOKED_AT_EVERY, is_stale, random};
use crate::clock::{machine_wall, wall};
use crate::doubts::Doubts;
use crate::enroll::Enrollment;

/// Joins and rejoins at once, each a connection and a task that waits. They never take an agent's place; surplus is closed at once.
const GUESTS: usize = 256;
/// Of these, from one address: a site that is set up at once. Whoever is sent away comes again a little later.
const GUESTS_EACH: usize = 32;
/// All that a join or a rejoin may take: three round trips over a bad line, and a commit.
const VISIT: Duration = Duration::from_secs(20);
/// Questions about certificates at once, of guests and of agents each: they share the core's ear with people.
const DECISIONS: usize = 8;
/// How long the sessions may take to deliver their goodbyes.
const FAREWELL: Duration = Duration::from_secs(2);

/// What can be set.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuicSettings {
    /// The times of a connection.
    pub timing: Timing,
}

/// Why there is no QUIC here.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The certificate.
    #[error("cannot make the hub's own certificate")]
    Certificate(#[from] CaError),
    /// The certificate with its key.
    #[error("cannot use the hub's own certificate")]
    Tls(#[from] TlsError),
    /// The socket.
    #[error("cannot use the UDP socket")]
    Socket(#[from] io::Error),
}

/// The listening side.
#[derive(Debug)]
pub struct Quic {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Quic {
    /// Listens on a socket that is bound already. Must be called inside a tokio runtime.
    pub fn start(
        socket: UdpSocket,
        ca: Arc<Ca>,
        enrollment: Arc<Enrollment>,
        inputs: mpsc::Sender<Input>,
        sessions: Sessions,
        settings: QuicSettings,
    ) -> Result<Self, QuicError> {
        let clock = CertificateClock::new(BUILD_FLOOR);
        let made = wall();
        let server = Server::new(socket, &tls(&ca, &clock, made)?, settings.timing)?;
        let address = server.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let desk = Desk {
            enrollment,
            inputs,
            sessions,
            guests: Crowd::default(),
            doubts: Arc::default(),
            of_guests: Arc::new(Semaphore::new(DECISIONS)),
            of_agents: Arc::new(Semaphore::new(DECISIONS)),
        };
        let task = tokio::spawn(serve(server, desk, (ca, made), clock, stopped));
        Ok(Self { address, stop, task })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, delivers what is queued, closes. Takes some seconds at most.
    pub async fn stop(self) {
        // An error means that the task has ended already.
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

/// The sessions that are up. Nothing here waits.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<Open>);

#[derive(Debug, Default)]
struct Open {
    last: AtomicU64,
    by_id: Mutex<HashMap<SessionId, Sender>>,
}

impl Sessions {
    /// Queues a frame. A session that is gone is no error: its `SessionClosed` is on its way. One that does not read is ended.
    pub fn send(&self, session: SessionId, frame: &Frame) {
        let sender = self.lock().get(&session).cloned();
        let Some(sender) = sender else { return };
        if let Err(wire_transport::SendError::Full {
            queued_bytes,
            limit_bytes,
        }) = sender.send(frame)
        {
            tracing::warn!(
                session = session.0,
                queued_bytes,
                limit_bytes,
                "agent does not read, session ended"
            );
            sender.abort(CloseCode::Slow, "you do not read");
        }
    }

    /// Ends a session after what was sent on it.
    pub fn close(&self, session: SessionId, reason: &str) {
        let sender = self.lock().get(&session).cloned();
        if let Some(sender) = sender {
            sender.close(CloseCode::Done, reason);
        }
    }

    /// How many are up.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn add(&self, sender: Sender) -> SessionId {
        let id = SessionId(self.0.last.fetch_add(1, Ordering::Relaxed) + 1);
        self.lock().insert(id, sender);
        id
    }

    fn remove(&self, session: SessionId) {
        self.lock().remove(&session);
    }

    fn close_all(&self, reason: &str) {
        for sender in self.lock().values() {
            sender.close(CloseCode::Stopping, reason);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Sender>> {
        self.0.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every connection's task needs.
#[derive(Clone)]
struct Desk {
    enrollment: Arc<Enrollment>,
    inputs: mpsc::Sender<Input>,
    sessions: Sessions,
    /// Who joins and rejoins.
    guests: Crowd,
    doubts: Arc<Doubts>,
    of_guests: Arc<Semaphore>,
    of_agents: Arc<Semaphore>,
}

/// Which way in a guest has come.
#[derive(Debug, Clone, Copy)]
enum Way {
    Join,
    Rejoin,
}

async fn serve(
    mut server: Server,
    desk: Desk,
    (ca, mut made): (Arc<Ca>, Wall),
    clock: CertificateClock,
    mut stopped: watch::Receiver<bool>,
) {
    let mut sessions = JoinSet::new();
    let mut guests = JoinSet::new();
    let mut look_at = Instant::now();
    let mut is_behind = false;
    loop {
        tokio::select! {
            arrival = server.accept() => match arrival {
                Some(Arrival::Session(pending)) => {
                    sessions.spawn(desk.clone().session(pending));
                }
                Some(Arrival::Join(guest)) => desk.receive(guest, Way::Join, &mut guests),
                Some(Arrival::Rejoin(guest)) => desk.receive(guest, Way::Rejoin, &mut guests),
                None => break,
            },
            Some(_) = sessions.join_next() => {}
            Some(_) = guests.join_next() => {}
            () = tokio::time::sleep_until(look_at) => {
                look_at = Instant::now() + HUB_LEAF_LOOKED_AT_EVERY;
                let (now, shown) = (wall(), machine_wall());
                if shown < now && !is_behind {
                    tracing::warn!(%shown, taken = %now, "this machine's clock is certainly wrong: set it, and keep it right");
                }
                is_behind = shown < now;
                if is_stale(made, now) {
                    made = now;
                    match tls(&ca, &clock, now) {
                        Ok(tls) => server.replace_tls(&tls),
                        Err(error) => tracing::error!(%error, "cannot renew the hub's own certificate, the old one stays"),
                    }
                }
            }
            _ = stopped.changed() => break,
        }
    }
    desk.sessions.close_all("the hub stops");
    let _ = timeout(FAREWELL, async { while sessions.join_next().await.is_some() {} }).await;
    server.close("the hub stops").await;
}

fn tls(ca: &Ca, clock: &CertificateClock, now: Wall) -> Result<ServerTls, QuicError> {
    Ok(ServerTls::new(ca.hub_leaf(now)?, ca.trust(), clock)?)
}

impl Desk {
    async fn session(self, pending: Pending) {
        let agent = pending.agent().clone();
        if let Some(reason) = self.enrollment.refuses(&agent, &pending.certificate()) {
            tracing::info!(%agent, reason, "agent turned away");
            return pending.refuse(CloseCode::Denied, &reason);
        }
        let Ok(session) = pending.admit().await else {
            return;
        };
        let id = self.sessions.add(session.sender());
        let reason = self.carry(id, agent, session).await;
        self.sessions.remove(id);
        // An error means that the turn loop has ended: nobody wants to know.
        let _ = self.inputs.send(Input::SessionClosed { session: id, reason }).await;
    }

    /// Until the session ends; returns why.
    async fn carry(&self, id: SessionId, agent: AgentId, mut session: Session) -> String {
        let opened = Input::SessionOpened {
            session: id,
            agent: agent.clone(),
        };
        if self.inputs.send(opened).await.is_err() {
            return "the hub stops".to_owned();
        }
        loop {
            match session.recv().await {
                Event::Frame(frame) => {
                    let input = Input::Frame { session: id, frame };
                    if self.inputs.send(input).await.is_err() {
                        return "the hub stops".to_owned();
                    }
                }
                Event::Asked { tag: RENEW_TAG, door } => {
                    if let Err(error) = self.renew(&agent, session.remote_address(), door).await {
                        tracing::debug!(%agent, %error, "renewal broke off");
                    }
                }
                Event::Asked { tag: LEAVE_TAG, door } => {
                    if let Err(error) = self.leave(&agent, session.remote_address(), door).await {
                        tracing::debug!(%agent, %error, "leaving broke off");
                    }
                }
                // A question of a later protocol: closing its stream is the answer.
                Event::Asked { tag, .. } => tracing::debug!(%agent, tag, "unknown question"),
                // The agent's own word: one of them says that it stops.
                Event::Ended(End::Closed { reason, .. }) => return reason,
                Event::Ended(end) => return end.to_string(),
            }
        }
    }

    async fn renew(&self, agent: &AgentId, address: SocketAddr, mut door: Door) -> Result<(), DoorError> {
        let request: RenewRequest = door.read().await?;
        let answer = within(&self.of_agents, self.enrollment.renew(agent, &request, address)).await;
        self.answer(door, address, answer).await
    }

    async fn leave(&self, agent: &AgentId, address: SocketAddr, mut door: Door) -> Result<(), DoorError> {
        let request: LeaveRequest = door.read().await?;
        let Some(answer) = within(&self.of_agents, self.enrollment.leave(agent, &request, address)).await else {
            return Ok(());
        };
        door.write(&answer).await?;
        door.finish().await;
        Ok(())
    }

    /// Shows a guest to a place, or the way out.
    fn receive(&self, guest: Guest, way: Way, guests: &mut JoinSet<()>) {
        let address = guest.remote_address().ip();
        if !self.doubts.is_welcome(address, std::time::Instant::now()) {
            return guest.refuse("too many refused tries from this address: wait a minute");
        }
        let inside = (guests.len() < GUESTS).then(|| self.guests.enter(address, GUESTS_EACH));
        let Some(inside) = inside.flatten() else {
            return guest.refuse("too many join at once: come again");
        };
        let desk = self.clone();
        guests.spawn(async move {
            let _inside = inside;
            let address = guest.remote_address();
            let visit = async {
                match way {
                    Way::Join => desk.join(&guest).await,
                    Way::Rejoin => desk.rejoin(&guest).await,
                }
            };
            match timeout(VISIT, visit).await {
                Ok(Ok(())) => guest.see_off().await,
                Ok(Err(error)) => {
                    tracing::debug!(%address, ?way, %error, "visit broke off");
                    guest.refuse("the visit broke off");
                }
                Err(_) => {
                    tracing::debug!(%address, ?way, "visit took too long");
                    guest.refuse("the visit took too long");
                }
            }
        });
    }

    async fn join(&self, guest: &Guest) -> Result<(), DoorError> {
        let mut door = guest.listen().await?;
        let message = door.read_message().await?;
        let request = JoinRequest::read(&message).map_err(|cause| DoorError::Malformed { cause })?;
        let (exporter, address) = (door.exporter(), guest.remote_address());
        let answer = within(&self.of_guests, self.enrollment.join(request, &exporter, address)).await;
        self.answer(door, address, answer).await
    }

    async fn rejoin(&self, guest: &Guest) -> Result<(), DoorError> {
        let mut door = guest.challenge().await?;
        let challenge: [u8; 32] = random();
        door.write_raw(&challenge).await?;
        let request: RejoinRequest = door.read().await?;
        let (exporter, address) = (door.exporter(), guest.remote_address());
        let asking = self.enrollment.rejoin(request, &challenge, &exporter, address);
        let answer = within(&self.of_guests, asking).await;
        self.answer(door, address, answer).await
    }

    async fn answer(&self, mut door: Door, address: SocketAddr, answer: Option<EnrollAnswer>) -> Result<(), DoorError> {
        let Some(answer) = answer else {
            return Ok(());
        };
        if let EnrollAnswer::Refused { refusal, detail } = &answer {
            self.doubts.refused(address.ip(), *refusal, detail);
        }
        door.write(&answer).await?;
        door.finish().await;
        Ok(())
    }
}

/// Asks within one of a few places. `None` only when the hub stops; the agent asks again.
async fn within<T>(places: &Semaphore, asking: impl Future<Output = T>) -> Option<T> {
    let _place = places.acquire().await.ok()?;
    Some(asking.await)
}

#[cfg(test)]
mod tests;
