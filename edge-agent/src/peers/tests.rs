//! Two agents of one site on loopback, with certificates of one CA.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use tokio::time::timeout;
use wire::Generation;
use wire::bundle::{BundlePayload, SignedBundle};
use wire::frame::{Frame, Held};
use wire::time::Wall;
use wire_transport::Event;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

struct Ca {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let der = params.self_signed(&key).expect("a certificate").der().clone();
        let issuer = Issuer::new(params, key);
        Self { der, issuer }
    }

    /// An agent of that node key whose certificate ends in that year.
    fn identity(&self, name: &str, node_key: u8, ends: i32, state: &Path) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        let uri = format!("spiffe://test/agent/{name}");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().expect("a URI"))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(ends, 1, 1);
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity::made(
            name,
            [node_key; 32],
            (leaf.der().to_vec(), key.serialize_der()),
            self.der.to_vec(),
            state,
        )
    }
}

/// An agent's end, and what its core hears.
struct Agent {
    peers: Peers,
    inputs: mpsc::Receiver<Input>,
}

impl Agent {
    fn start(identity: &Identity, state: &Path, listen: SocketAddr, other: (&str, SocketAddr)) -> Self {
        Self::carrying(1_000, identity, state, listen, other)
    }

    /// One that carries so many packets a day.
    fn carrying(
        packets: u64,
        identity: &Identity,
        state: &Path,
        listen: SocketAddr,
        other: (&str, SocketAddr),
    ) -> Self {
        let (send, inputs) = mpsc::channel(64);
        let settings = Mesh {
            listen,
            peers: [(AgentId::new(other.0).expect("a name"), Some(other.1))].into(),
            uplink: Uplink::Unmetered,
            carry_per_day: None,
            carry_packets_per_day: packets,
            mdns: false,
        };
        let place = (CertificateClock::new(Wall(0)), state);
        let watch = Watch::new().0;
        let peers = Peers::start(settings, identity, place, Timing::default(), send, &watch).expect("a port");
        Self { peers, inputs }
    }

    /// Waits until the core hears of a neighbour that is, or is not, in touch.
    async fn until(&mut self, in_touch: bool) -> NeighbourView {
        loop {
            let input = timeout(DEADLINE, self.inputs.recv())
                .await
                .expect("in time")
                .expect("it runs");
            if let Input::Neighbours(list) = input
                && list[0].in_touch == in_touch
            {
                return list[0].clone();
            }
        }
    }

    async fn passed(&mut self) -> Frame {
        loop {
            let input = timeout(DEADLINE, self.inputs.recv())
                .await
                .expect("in time")
                .expect("it runs");
            if let Input::Passed { frame } = input {
                return frame;
            }
        }
    }
}

/// A port that is free on loopback.
fn free() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("bound")
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("identity")).expect("a folder");
    folder
}

#[tokio::test]
async fn a_certificate_whose_time_is_over_counts_with_the_key_that_was_shown_before() {
    let (ca, here, there) = (Ca::new(), folder(), folder());
    let to = free();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let fourth = ca.identity("edge-04", 4, 2100, there.path());
    // Whose name comes first dials; where it is need not be known.
    let mut fourth = Agent::start(&fourth, there.path(), to, ("edge-03", free()));
    let start = |ends| {
        let identity = ca.identity("edge-03", 3, ends, here.path());
        Agent::start(&identity, here.path(), any, ("edge-04", to))
    };

    let mut third = start(2100);
    let seen = third.until(true).await;
    assert_eq!(
        (seen.name.as_str(), seen.site.as_str(), seen.reach),
        ("edge-04", "site-b", Reach::Alone)
    );
    fourth.until(true).await;
    drop(third);
    fourth.until(false).await;

    let mut third = start(2021);
    third.until(true).await;
    fourth.until(true).await;
    drop(third);
    fourth.until(false).await;

    // Somebody has the old certificate, and not the node's own key.
    let identity = ca.identity("edge-03", 9, 2021, here.path());
    let shown = tls(&identity, &CertificateClock::new(Wall(0))).expect("a certificate");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let end = PeerEnd::new(socket, shown, Timing::default(), Limits::default()).expect("a socket");
    let mut met = end
        .dial(AgentId::new("edge-04").expect("a name"), to)
        .await
        .expect("let in");
    let key = Frame::PeerKey(identity.peer_key(&met.binding));
    met.session.sender().send(&key).expect("sent");
    let ended = loop {
        let event = timeout(DEADLINE, met.session.recv()).await.expect("in time");
        if let Event::Ended(ended) = event {
            break ended.to_string();
        }
    };
    assert!(ended.contains("your key is not known here"), "{ended}");
    assert!(!fourth.peers.views()[0].in_touch, "it was not listened to");
}

/// Sends packets to the hub by way of the neighbour until it carries no more, or so many have come.
async fn carried(from: &Agent, hub: &tokio::net::UdpSocket, most: usize) -> usize {
    let at = hub.local_addr().expect("bound");
    let (mut count, mut missed) = (0, 0);
    let mut packet = [0; 2_048];
    while count < most && missed < 8 {
        if let Some(way) = from.peers.ways(at).first() {
            way.tunnel.send(&[0x40; 1_200]).expect("sent");
        }
        let came = timeout(Duration::from_millis(250), hub.recv(&mut packet)).await.is_ok();
        count += usize::from(came);
        // Before the first one, the two may still have to find each other.
        missed = if came || count == 0 { 0 } else { missed + 1 };
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_that_crashes_again_and_again_carries_no_more_than_a_day() {
    const DAY: u64 = 64;
    let (ca, here, there) = (Ca::new(), folder(), folder());
    let to = free();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let hub = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let third = ca.identity("edge-03", 3, 2100, here.path());
    let fourth = ca.identity("edge-04", 4, 2100, there.path());
    let mut all = 0;
    for life in 0..3 {
        // Dropped with all that runs in it, wherever that is.
        let process = tokio::runtime::Runtime::new().expect("threads");
        let guard = process.enter();
        let carrier = Agent::carrying(DAY, &fourth, there.path(), to, ("edge-03", free()));
        drop(guard);
        // Whose name comes first dials, so that nobody waits for the end of a session with the process before.
        let third = Agent::start(&third, here.path(), any, ("edge-04", to));
        carrier.peers.stand(Own {
            reach: Reach::Direct,
            hub: hub.local_addr().ok(),
            via: None,
            hub_rtt_us: 1,
        });
        let most = if life < 2 { 10 } else { usize::MAX };
        let found = timeout(DEADLINE, carried(&third, &hub, most)).await.expect("in time");
        assert!(life == 2 || found == 10, "{found} in life {life}");
        all += found;
        let dies = move || process.shutdown_timeout(DEADLINE);
        tokio::task::spawn_blocking(dies).await.expect("it is gone");
        drop(carrier);
    }
    // Two crashes, and what was stored ahead then: an eighth of so small a day, and half of one.
    assert!(all as u64 <= DAY && all as u64 >= DAY / 2, "{all} of {DAY}");
    let kept = Budgets::new(there.path()).load(wall(), Instant::now());
    assert!(kept.values().all(|kept| kept.used.packets >= all as u64), "{kept:?}");
}

#[tokio::test]
async fn what_one_accepted_reaches_the_other_once_and_nothing_goes_to_one_that_has_the_hub() {
    let (ca, here, there) = (Ca::new(), folder(), folder());
    let (at, to) = (free(), free());
    let third = ca.identity("edge-03", 3, 2100, here.path());
    let fourth = ca.identity("edge-04", 4, 2100, there.path());
    let mut third = Agent::start(&third, here.path(), at, ("edge-04", to));
    let mut fourth = Agent::start(&fourth, there.path(), to, ("edge-03", at));
    third.until(true).await;
    fourth.until(true).await;

    let shared = |generation: u64| {
        let payload = BundlePayload {
            generation: Generation(generation),
            trust_domain: "test".to_owned(),
            issued_at: Wall(0),
            text: b"bundle: b\n".to_vec(),
        };
        let bundle = SignedBundle::sign(&payload, &ed25519_dalek::SigningKey::from_bytes(&[1; 32]));
        let reference = wire::BundleRef {
            generation: Generation(generation),
            digest: bundle.digest(),
        };
        Shared {
            held: Held {
                bundle: reference,
                ..Held::NOTHING
            },
            bundle: Some(bundle),
            ..Shared::NOTHING
        }
    };
    third.peers.share(shared(2));
    assert_eq!(
        fourth.passed().await,
        Frame::Bundle(shared(2).bundle.expect("a bundle"))
    );

    // The other one has a session with the hub now: the hub gives it the next one, and this end does not.
    fourth.peers.stand(Own {
        reach: Reach::Direct,
        hub: Some(free()),
        via: None,
        hub_rtt_us: 1,
    });
    while third.until(true).await.reach != Reach::Direct {}
    third.peers.share(shared(3));
    while fourth.until(true).await.generation != 3 {}
    fourth.peers.stand(Own::ALONE);
    assert_eq!(
        fourth.passed().await,
        Frame::Bundle(shared(3).bundle.expect("a bundle")),
        "the first thing that comes is what it lacks once it is alone again"
    );
}
