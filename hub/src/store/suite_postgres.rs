//! What only a store in a PostgreSQL can meet: a server that is killed, a connection that breaks at a commit, another hub that took over,
//! TLS, and passwords that change.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use hub_core::{Batch, Row, Token};
use testbed_services::{MutualTls, Postgres};
use tokio::sync::mpsc;

use super::suite::{Chain, Home, Kind, agent, schema};
use super::{Completion, DurableStore, Outcome, Place, PostgresAddress, Retention, Store, StoreError, StoreSettings};

type Done = mpsc::Receiver<Vec<Completion>>;

fn open(address: &PostgresAddress) -> Result<(DurableStore, Done), StoreError> {
    let (send, done) = mpsc::channel(16);
    let settings = StoreSettings::at(Place::Postgres(Box::new(address.clone())));
    Ok((DurableStore::open(settings, send)?, done))
}

fn batch(token: u64, row: Row) -> Batch {
    Batch {
        token: Token(token),
        rows: vec![row],
    }
}

/// Writes a batch and waits until it is known what became of it. Returns whether it is stored, and whether that was unknown first.
fn put(store: &DurableStore, done: &mut Done, token: u64, row: Row) -> (bool, bool) {
    store.write(batch(token, row)).expect("the queue is empty");
    let mut was_unknown = false;
    loop {
        let told = done.blocking_recv().expect("the writer lives");
        assert_eq!(
            (told.len(), told[0].token),
            (1, Token(token)),
            "each is told of in its turn"
        );
        match &told[0].outcome {
            Outcome::Unknown(_) if was_unknown => panic!("told twice that nobody knows"),
            Outcome::Unknown(_) => was_unknown = true,
            Outcome::Stored => return (true, was_unknown),
            Outcome::Failed(_) => return (false, was_unknown),
        }
    }
}

/// What is there of a chain: entries, and whether each is there once and continues the one before.
fn standing(store: &DurableStore, name: &str) -> (u64, bool) {
    let scan = store.verify(&agent(name)).expect("it can be read");
    let is_whole = |one: &super::ScannedEpoch| one.chain_ok() && one.double == 0 && one.holes.is_empty();
    let count = scan.epochs.iter().map(|one| one.count).sum();
    (count, scan.epochs.iter().all(is_whole))
}

/// What happens to the next commit on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breaks {
    /// It never gets to the server.
    Request,
    /// It is done, and its answer is lost.
    Answer,
}

/// A wire to the server that can be told to break at a commit.
struct Wire {
    port: u16,
    next: Arc<Mutex<Option<Breaks>>>,
    /// Connections that are refused after that.
    away_for: Arc<AtomicU32>,
}

impl Wire {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let wire = Self {
            port: listener.local_addr().expect("bound").port(),
            next: Arc::default(),
            away_for: Arc::default(),
        };
        let (next, away_for) = (Arc::clone(&wire.next), Arc::clone(&wire.away_for));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let is_away = away_for
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_ok();
                if !is_away {
                    let server = TcpStream::connect(("127.0.0.1", port)).expect("the server is there");
                    carry(client, server, Arc::clone(&next));
                }
            }
        });
        wire
    }

    /// Breaks at the next commit of a writer; so many connections are refused then.
    fn break_at_commit(&self, breaks: Breaks) {
        *self.next.lock().expect("no thread failed") = Some(breaks);
    }
}

/// A simple query that says COMMIT: its letter, its length, its text with a zero byte.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
/// What the transactions of a writer begin with.
const WRITES: &[u8] = b"READ COMMITTED";

fn carry(client: TcpStream, server: TcpStream, next: Arc<Mutex<Option<Breaks>>>) {
    let (mut up, mut into) = (client.try_clone().expect("open"), server.try_clone().expect("open"));
    let (mut down, mut back) = (server.try_clone().expect("open"), client.try_clone().expect("open"));
    let is_deaf = Arc::new(Mutex::new(false));
    let hears = Arc::clone(&is_deaf);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        let mut is_writer = false;
        while let Ok(count @ 1..) = up.read(&mut buffer) {
            let part = &buffer[..count];
            is_writer |= part.windows(WRITES.len()).any(|window| window == WRITES);
            let commits = is_writer && part.windows(COMMIT.len()).any(|window| window == COMMIT);
            let breaks = match commits {
                true => next.lock().expect("no thread failed").take(),
                false => None,
            };
            match breaks {
                Some(Breaks::Request) => break,
                // Its answer is the next thing that the server says.
                Some(Breaks::Answer) => *is_deaf.lock().expect("no thread failed") = true,
                None => {}
            }
            if into.write_all(part).is_err() {
                break;
            }
        }
        let _ = up.shutdown(std::net::Shutdown::Both);
        let _ = into.shutdown(std::net::Shutdown::Both);
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = down.read(&mut buffer) {
            if *hears.lock().expect("no thread failed") || back.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = down.shutdown(std::net::Shutdown::Both);
        let _ = back.shutdown(std::net::Shutdown::Both);
    });
}

fn through(server: &Postgres, wire: &Wire, schema: &str) -> PostgresAddress {
    let text = format!("postgres://sentinel@127.0.0.1:{}/postgres?schema={schema}", wire.port);
    let password = server.password().to_owned();
    let address: PostgresAddress = text.parse().expect("an address");
    address.with_password(Arc::new(move || Ok(password.clone())))
}

#[test]
fn a_commit_whose_answer_is_lost_is_told_as_what_it_became() {
    let server = Postgres::start("hub-store-wire", None).expect("postgresql is installed");
    let wire = Wire::to(server.port());
    let (store, mut done) = open(&through(&server, &wire, "doubt")).expect("a new store");
    let mut chain = Chain::new("edge-03", 1);
    let mut entries = 0;
    for token in 1..=12 {
        let breaks = match token % 3 {
            0 => None,
            1 => Some(Breaks::Answer),
            _ => Some(Breaks::Request),
        };
        if let Some(breaks) = breaks {
            // Every other time nobody can be asked for a while.
            wire.away_for.store(u32::from(token % 2 == 0), Ordering::SeqCst);
            wire.break_at_commit(breaks);
        }
        let raw = chain.notes(5);
        let row = chain.row(raw);
        let (is_stored, was_unknown) = put(&store, &mut done, token, row.clone());
        let expected = breaks != Some(Breaks::Request);
        assert_eq!(is_stored, expected, "{token}: {breaks:?}");
        match (breaks, token % 2) {
            (None, _) => assert!(!was_unknown, "{token}"),
            (Some(_), 0) => assert!(was_unknown, "{token}: nobody could be asked"),
            // So soon after the one before it waits a moment.
            (Some(_), _) => {}
        }
        if !is_stored {
            // The agent sends again: nothing may be in the way.
            assert_eq!(put(&store, &mut done, 100 + token, row), (true, false), "{token}");
        }
        entries += 5;
        assert_eq!(standing(&store, "edge-03"), (entries, true), "{token}: {breaks:?}");
    }
    assert_eq!(store.trouble(), None, "the trouble is over");
    assert!(store.check().expect("it is read").ok);
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_writes_loses_nothing_and_doubles_nothing() {
    let mut server = Postgres::start("hub-store-kill", None).expect("postgresql is installed");
    let address = schema(&server);
    let (store, mut done) = open(&address).expect("a new store");
    let mut chains: Vec<Chain> = (0..20).map(|n| Chain::new(&format!("edge-{n}"), 1)).collect();
    // What each agent has not been told of yet: it sends that again until it is.
    let mut unsent: Vec<Option<Row>> = (0..20).map(|_| None).collect();
    let mut stored = [0_u64; 20];
    // Rounds since the last kill in which everything was stored.
    let (mut kills, mut failures, mut rounds, mut token) = (0, 0, 0, 0);
    while kills < 4 || failures == 0 {
        assert!(kills < 50, "no kill hit anything");
        let mut waiting = std::collections::BTreeMap::new();
        for (n, chain) in chains.iter_mut().enumerate() {
            let row = unsent[n].take().unwrap_or_else(|| {
                let raw = chain.notes(40);
                let first = raw[0].seq.0;
                chain.marked(raw, &[first], &[(first, first + 1)])
            });
            token += 1;
            store.write(batch(token, row.clone())).expect("the queue has room");
            waiting.insert(token, (n, row));
        }
        // While they are on their way.
        if rounds >= 3 {
            rounds = 0;
            server.kill();
            server.restart().expect("it comes back");
            kills += 1;
        }
        let before = failures;
        while !waiting.is_empty() {
            for Completion {
                token: Token(token),
                outcome,
            } in done.blocking_recv().expect("the writer lives")
            {
                match outcome {
                    Outcome::Stored => {
                        let (n, _) = waiting.remove(&token).expect("told once");
                        stored[n] += 40;
                    }
                    Outcome::Failed(_) => {
                        let (n, row) = waiting.remove(&token).expect("told once");
                        unsent[n] = Some(row);
                        failures += 1;
                    }
                    Outcome::Unknown(_) => {}
                }
            }
        }
        rounds += u64::from(failures == before);
    }
    assert!(failures > 0, "no kill hit anything");
    for (n, row) in unsent.into_iter().enumerate() {
        if let Some(row) = row {
            // The first one after a kill connects again; it may fail while another attempt is a moment old.
            let mut is_stored = false;
            while !is_stored {
                token += 1;
                is_stored = put(&store, &mut done, token, row.clone()).0;
            }
            stored[n] += 40;
        }
    }
    let (hub, _done) = {
        store.close().expect("closes");
        open(&address).expect("another process")
    };
    for (n, stored) in stored.iter().enumerate() {
        assert_eq!(standing(&hub, &format!("edge-{n}")), (*stored, true), "edge-{n}");
    }
    let arrived = hub.arrived(None, 1_000_000).expect("whole");
    assert_eq!(arrived.len() as u64, stored.iter().sum::<u64>());
    assert!(
        arrived.iter().zip(1..).all(|(one, number)| one.number == number),
        "no gap and no double"
    );
    let checked = hub.check().expect("it is read");
    assert!(checked.ok, "{checked}");
}

#[test]
fn a_hub_that_another_one_has_followed_writes_nothing_any_more() {
    let server = Postgres::start("hub-store-fence", None).expect("postgresql is installed");
    let address = schema(&server);
    let (first, mut told_first) = open(&address).expect("a new store");
    let mut chain = Chain::new("edge-03", 1);
    let raw = chain.notes(5);
    assert!(put(&first, &mut told_first, 1, chain.row(raw)).0);
    // The server forgets the first one, as it does when the network between them is cut for long.
    let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'sentinel-hub'";
    server.sql(all).expect("it does");
    let (second, mut told_second) = open(&address).expect("its lock is free");
    let raw = chain.notes(5);
    let row = chain.row(raw);
    assert!(put(&second, &mut told_second, 1, row).0);
    let mut late = Chain::new("edge-04", 1);
    let raw = late.notes(5);
    assert!(
        !put(&first, &mut told_first, 2, late.row(raw.clone())).0,
        "the second one has the lock"
    );
    second.close().expect("closes");
    for token in 3..5 {
        let row = late.row(raw.clone());
        assert!(
            !put(&first, &mut told_first, token, row).0,
            "it does not know what the second one wrote"
        );
    }
    let trouble = first.trouble().expect("it says so");
    assert!(trouble.contains("another hub"), "{trouble}");
    drop(first);
    let (third, _told) = open(&address).expect("the lock is free again");
    assert_eq!(
        (standing(&third, "edge-03"), standing(&third, "edge-04")),
        ((10, true), (0, true))
    );
}

#[test]
fn a_store_of_a_newer_program_is_refused_and_left_as_it_is() {
    let home = Home::new(Kind::Postgres);
    let settings = home.settings(Retention::default());
    let (send, _done) = mpsc::channel(1);
    drop(DurableStore::open(settings.clone(), send.clone()).expect("a new store"));
    super::open::as_format(&settings, 1_000, &[]);
    for _ in 0..2 {
        let Err(error) = DurableStore::open(settings.clone(), send.clone()) else {
            panic!("a store of another program was opened");
        };
        assert!(matches!(error, StoreError::Format { .. }), "{error}");
        assert!(error.to_string().contains("format 1000"), "{error}");
    }
}

/// An authority, and certificates of it for the server and for the hub.
fn certificates(folder: &std::path::Path, names: &[&str]) -> MutualTls {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let key = || KeyPair::generate().expect("random");
    let ca_key = key();
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, "an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).expect("signed");
    let issuer = Issuer::new(params, ca_key);
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("room");
        path
    };
    let signed = |name: &str, names: Vec<String>| {
        let key = key();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &issuer).expect("signed");
        (
            write(&format!("{name}.pem"), certificate.pem()),
            write(&format!("{name}.key"), key.serialize_pem()),
        )
    };
    signed("client", vec!["hub".to_owned()]);
    let (certificate, key) = signed("server", names.iter().map(|name| (*name).to_owned()).collect());
    MutualTls {
        ca: write("ca.pem", ca.pem()),
        certificate,
        key,
    }
}

#[test]
fn tls_is_as_strict_as_it_was_asked_to_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = certificates(folder.path(), &["db.example"]);
    let other = tempfile::tempdir().expect("a folder");
    let stranger = certificates(other.path(), &["db.example"]).ca;
    let server = Postgres::start("hub-store-tls", Some(&files)).expect("postgresql is installed");
    let attempt = |words: &str| {
        let text = format!("{}?schema=tls&{words}", server.address());
        let password = server.password().to_owned();
        let address: PostgresAddress = text.parse().expect("an address");
        open(&address.with_password(Arc::new(move || Ok(password.clone()))))
    };
    let place = folder.path().display();
    let client = format!("sslcert={place}/client.pem&sslkey={place}/client.key");
    let ca = files.ca.display();
    let check = |words: String, expected: Result<(), &str>| match (attempt(&words), expected) {
        (Ok((store, _done)), Ok(())) => {
            let text = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'sentinel-hub'";
            assert_eq!(server.sql(text).expect("it answers"), "t", "{words}");
            store.close().expect("closes");
        }
        (Err(error), Err(part)) => assert!(error.chain().contains(part), "{words}: {}", error.chain()),
        (Ok(_), Err(part)) => panic!("{words}: connected, and not `{part}`"),
        (Err(error), Ok(())) => panic!("{words}: {}", error.chain()),
    };
    check(format!("sslmode=require&{client}"), Ok(()));
    check(format!("sslmode=require&sslrootcert={ca}&{client}"), Ok(()));
    check(format!("sslmode=verify-ca&sslrootcert={ca}&{client}"), Ok(()));
    check(
        format!("sslmode=verify-ca&sslrootcert={}&{client}", stranger.display()),
        Err("invalid peer certificate"),
    );
    check(
        format!("sslmode=require&sslrootcert={}&{client}", stranger.display()),
        Err("invalid peer certificate"),
    );
    check(
        format!("sslmode=verify-full&sslrootcert={ca}&{client}"),
        Err("not valid for name"),
    );
    check(format!("sslmode=require&sslrootcert={ca}"), Err("certificate"));
    check(
        format!("sslmode=verify-ca&sslrootcert={place}/client.key&{client}"),
        Err("holds no certificate"),
    );
}

#[test]
fn a_password_is_read_again_for_each_connection_and_stands_in_no_error() {
    let mut server = Postgres::start("hub-store-password", None).expect("postgresql is installed");
    let password = Arc::new(Mutex::new(server.password().to_owned()));
    let text = format!("{}?schema=password", server.address());
    let read = Arc::clone(&password);
    let address: PostgresAddress = text.parse().expect("an address");
    let address = address.with_password(Arc::new(move || Ok(read.lock().expect("no thread failed").clone())));
    let (store, mut done) = open(&address).expect("a new store");
    let mut chain = Chain::new("edge-03", 1);
    let raw = chain.notes(1);
    assert!(put(&store, &mut done, 1, chain.row(raw)).0);
    *password.lock().expect("no thread failed") = "s3cret-rotated".to_owned();
    let Err(error) = open(&address) else {
        panic!("connected with a wrong password");
    };
    let text = error.chain();
    assert!(
        text.contains("password authentication failed") && !text.contains("s3cret"),
        "{text}"
    );
    server
        .sql("ALTER USER sentinel PASSWORD 's3cret-rotated'")
        .expect("it is changed");
    server.set_password("s3cret-rotated");
    server.kill();
    server.restart().expect("it comes back");
    let raw = chain.notes(1);
    let row = chain.row(raw);
    let mut token = 1;
    loop {
        token += 1;
        if put(&store, &mut done, token, row.clone()).0 {
            break;
        }
        assert!(token < 10_000, "it does not connect again: {:?}", store.trouble());
    }
    assert_eq!(standing(&store, "edge-03"), (2, true));
}
