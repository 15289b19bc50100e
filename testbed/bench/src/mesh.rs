//! `mesh`: what it costs to go through a neighbour, to be one, and to belong to a site of fifty.
//!
//! The carrier is a real agent, and so are the nodes that lose their path and the members that get a bundle. Entries go through it from a
//! bare agent, beside the same entries over the direct path in the same run; its CPU time stands beside a forwarder of bare UDP packets
//! that passes the same entries. Times are those of the nodes' own journals: all are of one machine's clock.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;
use wire::frame::{Entries, Frame};
use wire::{AgentId, Wall};
use wire_transport::{Client, Event, Limits, Met, PeerEnd, PeerHandle, Timing};

use crate::fleet::{Bare, client, enroll};
use crate::lab::{Lab, Node, Place, Running};
use crate::machine::{cpu_time, pause, proportional_bytes};
use crate::report::{Figure, Goal, quantile};
use crate::sync;
use crate::tap::Tap;

/// Nodes whose path is cut, and how often each.
const CUT: usize = 12;
const CUTS: usize = 2;
/// Neighbours of one carrier that it carries at once.
const CARRIED: usize = 48;
/// Members of the large site.
const MEMBERS: usize = 50;
/// Rounds of entries; the middle one of each kind counts.
const ROUNDS: usize = 5;
/// Frames of entries that may be under way.
const WINDOW: u64 = 16;
const IDLE: Duration = Duration::from_secs(180);
const PATIENCE: Duration = Duration::from_secs(240);
/// IPv4 and UDP headers of a packet.
const HEADER_BYTES: u64 = 28;

/// Runs all of it.
pub async fn run(place: &Place, bundle: &Path) -> Result<Vec<Figure>, String> {
    let mut figures = cuts(place, bundle).await?;
    figures.extend(carrying(place, bundle).await?);
    figures.extend(site(place, bundle).await?);
    Ok(figures)
}

/// A free UDP address on loopback, for an agent to bind.
fn free() -> Result<SocketAddr, String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|cause| cause.to_string())?;
    socket.local_addr().map_err(|cause| cause.to_string())
}

fn mesh(listen: SocketAddr, peers: &[(String, SocketAddr)]) -> String {
    let peers: Vec<String> = peers.iter().map(|(name, at)| format!("{name} = \"{at}\"")).collect();
    format!(
        "silence = \"3s\"\n---\n[mesh]\nlisten = \"{listen}\"\npeers = {{ {} }}\n",
        peers.join(", ")
    )
}

/// Waits until the hub's rows are so.
fn until(lab: &Lab, what: &str, is_so: impl Fn(&[Value]) -> bool) -> Result<(), String> {
    let started = Instant::now();
    while !is_so(&lab.items(&["get", "nodes"])?) {
        // Whoever asks more often measures the asking.
        if started.elapsed() > PATIENCE {
            return Err(format!("not within {PATIENCE:?}: {what}"));
        }
        pause(Duration::from_millis(300));
    }
    Ok(())
}

/// When each entry of a node was made that reads like this, oldest first.
fn times(lab: &Lab, node: &str, text: &str) -> Result<Vec<i64>, String> {
    let rows = lab.items(&["get", "entries", "--node", node, "--limit", "0"])?;
    let mut found: Vec<i64> = rows
        .iter()
        .filter(|row| row["text"].as_str().is_some_and(|line| line.starts_with(text)))
        .filter_map(|row| row["at"].as_str()?.parse::<Wall>().ok())
        .map(|at| at.0)
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// From a cut that was noticed to a session through the neighbour; its peer is a handshake over the direct path.
///
/// Each node is cut alone and stays cut until all are: one that goes back and forth within a minute waits ever longer before it goes back.
async fn cuts(place: &Place, bundle: &Path) -> Result<Vec<Figure>, String> {
    let lab = Lab::new(place, "mesh-cuts", bundle)?;
    let names: Vec<String> = (0..CUT).map(|n| format!("cut-{n:02}")).collect();
    let mut places = Vec::new();
    for name in &names {
        places.push((name.clone(), free()?));
    }
    let carrier = ("mesh-carrier".to_owned(), free()?);
    let mut nodes = vec![lab.plain_agent(&carrier.0, lab.address, &mesh(carrier.1, &places))?];
    let mut taps = Vec::new();
    for (name, at) in &places {
        let tap = Tap::new(lab.address).map_err(|cause| cause.to_string())?;
        nodes.push(lab.plain_agent(name, tap.address(), &mesh(*at, std::slice::from_ref(&carrier)))?);
        taps.push(tap);
    }
    let is_via = |rows: &[Value], name: &String, via: Option<&str>| {
        let row = rows.iter().find(|row| row["name"] == **name);
        row.is_some_and(|row| row["state"] == "connected" && row["via"].as_str() == via)
    };
    for _ in 0..CUTS {
        until(&lab, "all are on paths of their own", |rows| {
            names.iter().all(|name| is_via(rows, name, None))
        })?;
        for name in &names {
            in_touch_with(&lab, name, 1)?;
        }
        for (name, tap) in names.iter().zip(&taps) {
            tap.cut(true);
            until(&lab, "the node is carried", |rows| is_via(rows, name, Some(&carrier.0)))?;
        }
        taps.iter().for_each(|tap| tap.cut(false));
    }
    let started = Instant::now();
    // A node is connected before the hub has stored when that was.
    let mut spans = loop {
        let spans = carried_after(&lab, &names)?;
        if spans.len() >= CUT * CUTS {
            break spans;
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("{} cuts were noticed of {}", spans.len(), CUT * CUTS));
        }
        pause(Duration::from_millis(300));
    };
    drop(nodes);
    let direct = client(&lab)?;
    let bare = enroll(&lab, &direct, "direct").await?;
    let mut handshakes = Vec::new();
    for _ in 0..CUT * CUTS {
        let started = Instant::now();
        drop(bare.connect(&direct, lab.address).await?);
        handshakes.push(started.elapsed().as_secs_f64());
    }
    let figure = |name, share, goal, spans: &mut [f64], peers: &mut [f64]| {
        Figure::new(name, "s", quantile(spans, share), goal).peer("direct handshake", quantile(peers, share))
    };
    Ok(vec![
        figure("mesh carried p50", 0.5, Goal::AtMost(2.0), &mut spans, &mut handshakes),
        figure("mesh carried p99", 0.99, Goal::AtMost(5.0), &mut spans, &mut handshakes),
    ])
}

/// The seconds from each loss of a session to the next one, by the nodes' own journals.
fn carried_after(lab: &Lab, names: &[String]) -> Result<Vec<f64>, String> {
    let mut spans = Vec::new();
    for name in names {
        let (lost, made) = (times(lab, name, "disconnected")?, times(lab, name, "connected")?);
        let after = |lost: &i64| Some((made.iter().find(|made| *made > lost)? - lost) as f64 / 1e3);
        spans.extend(lost.iter().filter_map(after));
    }
    Ok(spans)
}

/// A bare agent in touch with a carrier, and what keeps both going.
struct Neighbour {
    bare: Bare,
    handle: PeerHandle,
    _tasks: JoinSet<()>,
}

impl Neighbour {
    async fn new(bare: Bare, carrier: &AgentId, at: SocketAddr) -> Result<Self, String> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|cause| cause.to_string())?;
        let timing = Timing {
            idle: Duration::from_secs(150),
            keep_alive: Duration::from_secs(60),
            ..Timing::default()
        };
        let mut end =
            PeerEnd::new(socket, bare.peer_tls()?, timing, Limits::default()).map_err(|cause| cause.to_string())?;
        let Met {
            mut session, handle, ..
        } = end.dial(carrier.clone(), at).await.map_err(|cause| cause.to_string())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { while end.accept().await.is_some() {} });
        tasks.spawn(async move { while !matches!(session.recv().await, Event::Ended(_)) {} });
        Ok(Self {
            bare,
            handle,
            _tasks: tasks,
        })
    }

    fn client(&self, hub: SocketAddr) -> Result<Client, String> {
        let timing = Timing {
            connect: Duration::from_secs(60),
            ..Timing::default()
        };
        Client::through(self.handle.tunnel(hub), timing).map_err(|cause| cause.to_string())
    }
}

/// Sends all frames from one agent and waits until they are stored; entries a second.
async fn pour(bare: &Bare, client: &Client, hub: SocketAddr, frames: &[Entries]) -> Result<f64, String> {
    let (mut session, _) = bare.connect(client, hub).await?;
    let sender = session.sender();
    let each = frames.first().map_or(0, |frame| frame.raw.len() as u64);
    let (mut sent, mut acked) = (0, 0);
    let started = Instant::now();
    while acked < frames.len() as u64 * each {
        while sent < frames.len() as u64 && sent * each < acked + WINDOW * each {
            let frame = Frame::Entries(frames[sent as usize].clone());
            sender.send(&frame).map_err(|cause| cause.to_string())?;
            sent += 1;
        }
        match tokio::time::timeout(Duration::from_secs(30), session.recv()).await {
            Ok(Event::Frame(Frame::Ack(ack))) => acked = ack.entries.map_or(acked, |seq| seq.0),
            Ok(Event::Frame(_) | Event::Asked { .. }) => {}
            Ok(Event::Ended(end)) => return Err(format!("the session ended: {end:?}")),
            Err(_) => return Err(format!("no acknowledgement for 30 s after {acked}")),
        }
    }
    Ok(acked as f64 / started.elapsed().as_secs_f64())
}

/// Throughput through a carrier, and what it costs the carrier.
async fn carrying(place: &Place, bundle: &Path) -> Result<Vec<Figure>, String> {
    let lab = Lab::new(place, "mesh-carrying", bundle)?;
    let at = free()?;
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    // Names before the carrier's: theirs is the dial.
    let names: Vec<String> = (0..CARRIED)
        .map(|n| format!("a-{n}"))
        .chain((0..2 * ROUNDS).map(|n| format!("b-{n}")))
        .collect();
    let peers: Vec<(String, SocketAddr)> = names.iter().map(|name| (name.clone(), nowhere)).collect();
    let carrier = lab.plain_agent("carrier", lab.address, &mesh(at, &peers))?;
    until(&lab, "the carrier is connected", |rows| {
        rows.iter()
            .any(|row| row["name"] == "carrier" && row["state"] == "connected")
    })?;
    let name = AgentId::new("carrier").map_err(|cause| cause.to_string())?;
    let forwarder = forwarder(place, lab.address)?;
    let direct = client(&lab)?;
    let frames = sync::frames();
    let pid = carrier.running.pid();
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    let (mut carrying, mut forwarding) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let one = enroll(&lab, &direct, &format!("b-{round}")).await?;
        let one = Neighbour::new(one, &name, at).await?;
        let through = one.client(lab.address)?;
        let before = cpu_time(pid)?;
        ours.push(pour(&one.bare, &through, lab.address, &frames).await?);
        carrying.push(cpu_time(pid)?.saturating_sub(before).as_secs_f64());

        let two = enroll(&lab, &direct, &format!("direct-{round}")).await?;
        peer.push(pour(&two, &direct, lab.address, &frames).await?);

        let three = enroll(&lab, &direct, &format!("forward-{round}")).await?;
        let (to, process) = &forwarder;
        let past = Client::new(*to, Timing::default()).map_err(|cause| cause.to_string())?;
        let before = cpu_time(process.pid())?;
        pour(&three, &past, *to, &frames).await?;
        forwarding.push(cpu_time(process.pid())?.saturating_sub(before).as_secs_f64());
    }
    let (ours, peer) = (quantile(&mut ours, 0.5), quantile(&mut peer, 0.5));
    let (cpu, bare) = (quantile(&mut carrying, 0.5), quantile(&mut forwarding, 0.5));
    let each = carried_session(&lab, &carrier, &name, at, &direct).await?;
    Ok(vec![
        Figure::new("mesh entries", "entries/s", ours, Goal::AtLeast(0.7 * peer)).peer("direct path", peer),
        Figure::new("mesh carrier cpu", "s", cpu, Goal::AtMost(1.5 * bare)).peer("bare UDP forwarder", bare),
        Figure::new("mesh carried rss", "KiB each", each, Goal::AtMost(40.0)),
    ])
}

/// What each session that is carried adds to the carrier's memory, besides that its owner is in touch.
async fn carried_session(
    lab: &Lab,
    carrier: &Node,
    name: &AgentId,
    at: SocketAddr,
    direct: &Client,
) -> Result<f64, String> {
    let mut neighbours = Vec::new();
    for n in 0..CARRIED {
        let bare = enroll(lab, direct, &format!("a-{n}")).await?;
        neighbours.push(Neighbour::new(bare, name, at).await?);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = proportional_bytes(carrier.running.pid())?;
    let mut sessions = Vec::new();
    for one in &neighbours {
        let client = one.client(lab.address)?;
        let (session, _) = one.bare.connect(&client, lab.address).await?;
        sessions.push((client, session));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = proportional_bytes(carrier.running.pid())?;
    Ok(after.saturating_sub(before) as f64 / 1024.0 / CARRIED as f64)
}

/// The peer: `sentinel-bench --forward HUB` passes UDP packets on, and knows nothing of them.
fn forwarder(place: &Place, hub: SocketAddr) -> Result<(SocketAddr, Running), String> {
    let this = std::env::current_exe().map_err(|cause| cause.to_string())?;
    let mut command = Command::new(this);
    command.args(["--forward", &hub.to_string()]);
    let running = Running::start(&mut command, &place.work.join("forward.log"))?;
    let address = running.ready.trim_start_matches("ready ").parse();
    let address = address.map_err(|_| format!("the forwarder's address `{}` is none", running.ready))?;
    Ok((address, running))
}

/// Passes packets between whoever sent last and the hub, a thread for either way.
pub fn forward(hub: Option<&String>) -> Result<(), String> {
    let failed = |cause: std::io::Error| cause.to_string();
    let hub = hub.ok_or("--forward is missing its HOST:PORT")?;
    let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    back.connect(hub).map_err(failed)?;
    println!("ready {}", front.local_addr().map_err(failed)?);
    let who = std::sync::Mutex::new(None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut packet = [0; 2048];
            loop {
                let Ok(length) = back.recv(&mut packet) else { continue };
                let to = *who.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                // A lost packet is what UDP promises.
                if let Some(to) = to {
                    drop(front.send_to(&packet[..length], to));
                }
            }
        });
        let mut packet = [0; 2048];
        loop {
            let Ok((length, from)) = front.recv_from(&mut packet) else {
                continue;
            };
            *who.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(from);
            drop(back.send(&packet[..length]));
        }
    })
}

/// A site of fifty: a bundle that one of them gets while all are cut off, and what it costs to be in touch.
async fn site(place: &Place, bundle: &Path) -> Result<Vec<Figure>, String> {
    let lab = Lab::new(place, "mesh-site", bundle)?;
    let tap = Tap::new(lab.address).map_err(|cause| cause.to_string())?;
    let names: Vec<String> = (0..MEMBERS).map(|n| format!("m-{n:02}")).collect();
    let mut members = Vec::new();
    for name in &names {
        members.push((name.clone(), free()?));
    }
    let mut nodes = Vec::new();
    for (name, at) in &members {
        let others: Vec<_> = members.iter().filter(|(other, _)| other != name).cloned().collect();
        nodes.push(lab.plain_agent(name, tap.address(), &mesh(*at, &others))?);
    }
    until(&lab, "all members are connected", |rows| {
        rows.len() == MEMBERS && rows.iter().all(|row| row["state"] == "connected")
    })?;
    for name in &names {
        in_touch_with(&lab, name, names.len() - 1)?;
    }
    tap.cut(true);
    until(&lab, "the hub has lost all of them", |rows| {
        rows.iter().all(|row| row["state"] != "connected")
    })?;
    let newer = lab.folder().join("newer.yaml");
    std::fs::write(&newer, "bundle: newer\npermits: [{ kinds: [notify, power_cap] }]\n")
        .map_err(|cause| cause.to_string())?;
    let text = |path: &Path| path.display().to_string();
    lab.sentinel(&["policy", "publish", &text(&newer)])?;
    let parcel = text(&lab.folder().join("newer.parcel"));
    lab.sentinel(&["policy", "export", "--out", &parcel])?;
    let socket = text(&lab.folder().join(&names[0]).join("agent.sock"));
    lab.sentinel(&["policy", "import", &parcel, "--socket", &socket])?;
    // Whoever asks fifty nodes meanwhile would measure that: they tell later when it was.
    pause(Duration::from_secs(10));
    tap.cut(false);
    until(&lab, "all members are back, with the newer policy", |rows| {
        rows.iter()
            .all(|row| row["state"] == "connected" && row["policy_generation"] == 2)
    })?;
    let active = |name: &String| times(&lab, name, "policy generation 2").map(|times| times.first().copied());
    let first = active(&names[0])?.ok_or("the first member has no newer policy")?;
    let mut last = first;
    for name in &names {
        last = last.max(active(name)?.ok_or_else(|| format!("{name} has no newer policy"))?);
    }
    drop(nodes);
    let mut figures = vec![Figure::new(
        "mesh bundle to 50",
        "s",
        (last - first) as f64 / 1e3,
        Goal::AtMost(2.0),
    )];
    figures.extend(idle(place, bundle).await?);
    Ok(figures)
}

/// Waits until that node says that it is in touch with so many others.
fn in_touch_with(lab: &Lab, name: &str, others: usize) -> Result<(), String> {
    let started = Instant::now();
    let socket = lab.folder().join(name).join("agent.sock").display().to_string();
    loop {
        let rows = lab.items(&["get", "nodes", "--local", "--socket", &socket])?;
        let own = rows.iter().find(|row| row["name"] == *name);
        let known = own
            .and_then(|own| own["neighbours"].as_array())
            .map_or(0, |list| list.iter().filter(|one| one["in_touch"] == true).count());
        if known >= others {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("{name} is in touch with {known} others after {PATIENCE:?}"));
        }
        pause(Duration::from_millis(200));
    }
}

/// What forty-nine silent neighbours cost a node, beside the same node without any.
async fn idle(place: &Place, bundle: &Path) -> Result<Vec<Figure>, String> {
    let lab = Lab::new(place, "mesh-idle", bundle)?;
    let at = free()?;
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let names: Vec<String> = (1..MEMBERS).map(|n| format!("a-{n}")).collect();
    let peers: Vec<(String, SocketAddr)> = names.iter().map(|name| (name.clone(), nowhere)).collect();
    let node = lab.plain_agent("node", lab.address, &mesh(at, &peers))?;
    let alone = lab.plain_agent("alone", lab.address, "")?;
    let direct = client(&lab)?;
    let name = AgentId::new("node").map_err(|cause| cause.to_string())?;
    let mut neighbours = Vec::new();
    for one in &names {
        let bare = enroll(&lab, &direct, one).await?;
        neighbours.push(Neighbour::new(bare, &name, at).await?);
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let crossed = || {
        let one = neighbours.iter().map(|one| one.handle.crossed());
        one.fold(0, |sum, (packets, bytes)| sum + bytes + HEADER_BYTES * packets)
    };
    let cpu = |node: &Node| cpu_time(node.running.pid());
    let (bytes, with, without) = (crossed(), cpu(&node)?, cpu(&alone)?);
    tokio::time::sleep(IDLE).await;
    // Each packet was sent by one of the two ends.
    let rate = (crossed() - bytes) as f64 / 2.0 / IDLE.as_secs_f64();
    let share =
        |before: Duration, after: Duration| 100.0 * after.saturating_sub(before).as_secs_f64() / IDLE.as_secs_f64();
    let (with, without) = (share(with, cpu(&node)?), share(without, cpu(&alone)?));
    Ok(vec![
        Figure::new("mesh idle wire", "B/s", rate, Goal::AtMost(60.0)),
        Figure::new("mesh idle cpu", "% core", (with - without).max(0.0), Goal::AtMost(0.05))
            .limit("the same node alone", without),
    ])
}
