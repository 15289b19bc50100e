//! The ways in that are no person's: the administrator's token, one-time links, the sessions that they open, and the link of the
//! first person.
//!
//! Keeps hashes only. Sessions outlive a restart, as a setting of the store, so that an upgrade signs nobody out; links do not. Sessions
//! of people are documents of the core.
//!
//! Invariant: a link's code opens at most one session; comparing secrets takes the same time whatever they are.
//! Read next: `identity.rs` (who somebody is), `door.rs` (how they are known), `jwt.rs`, `password.rs`, `throttle.rs`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wire::codec;
use wire::ids::Digest;
use wire::time::{Mono, Wall};

use super::jwt::Signer;
use super::password::Passwords;
use super::throttle::{Key, Throttle};

/// How long a one-time link can be opened: the walk to another screen.
pub const LINK_LIFE: Duration = Duration::from_secs(600);
/// How long a console session lasts: a working day and a little.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3_600);
/// Links and sessions that may be open at once; the oldest gives way. People with several screens, not a public site.
const MOST: usize = 64;
/// Random bytes of every secret.
const SECRET_BYTES: usize = 16;

/// The door's memory.
#[derive(Debug)]
pub struct Auth {
    token: Digest,
    links: Mutex<Vec<Secret>>,
    sessions: Mutex<Vec<Session>>,
    setup: Mutex<Option<Digest>>,
    /// Makes and checks access tokens.
    pub signer: Signer,
    /// Makes and checks password hashes.
    pub passwords: Passwords,
    throttle: Mutex<Throttle>,
    began: Instant,
}

#[derive(Debug)]
struct Secret {
    hash: Digest,
    ends: Instant,
}

/// A session that a link opened. Its end is a time of day, because it is kept over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    hash: Digest,
    ends: Wall,
}

/// Version of what [`Auth::kept_sessions`] writes, its first byte.
const SESSIONS_VERSION: u8 = 1;

impl Auth {
    /// A door that opens to the token with this hash, and to access tokens of this signer.
    pub fn new(token: Digest, signer: Signer) -> Self {
        Self {
            token,
            links: Mutex::default(),
            sessions: Mutex::default(),
            setup: Mutex::default(),
            signer,
            passwords: Passwords::default(),
            throttle: Mutex::default(),
            began: Instant::now(),
        }
    }

    /// The same with the sessions that an earlier process kept; bytes of another version are no sessions.
    #[must_use]
    pub fn with_sessions(self, kept: &[u8]) -> Self {
        let sessions = match kept.split_first() {
            Some((&SESSIONS_VERSION, rest)) => codec::decode(rest).unwrap_or_default(),
            _ => Vec::new(),
        };
        Self {
            sessions: Mutex::new(sessions),
            ..self
        }
    }

    /// The open sessions, for the store.
    pub fn kept_sessions(&self) -> Vec<u8> {
        let mut bytes = vec![SESSIONS_VERSION];
        bytes.extend(codec::encode(
            &*self.sessions.lock().unwrap_or_else(PoisonError::into_inner),
        ));
        bytes
    }

    /// A new code for the first person; the former one is worth nothing any more.
    pub fn new_setup(&self) -> Result<String, getrandom::Error> {
        let code = random_text()?;
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = Some(Digest::of(code.as_bytes()));
        Ok(code)
    }

    /// Whether this is the first person's code. It stays good until they are stored, so that a mistake costs nothing.
    pub fn is_setup(&self, code: &Digest) -> bool {
        let setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        setup.as_ref().is_some_and(|setup| same(setup, code))
    }

    /// The first person is there.
    pub fn end_setup(&self) {
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How long these must wait before they may try again.
    pub fn wait(&self, keys: &[Key]) -> Option<Duration> {
        self.throttled(|throttle, now| throttle.wait(keys, now))
    }

    /// These tried, and were wrong.
    pub fn failed(&self, keys: &[Key]) {
        self.throttled(|throttle, now| throttle.failed(keys, now));
    }

    /// This name was right.
    pub fn succeeded(&self, name: &Key) {
        self.throttled(|throttle, _| throttle.succeeded(name));
    }

    fn throttled<T>(&self, work: impl FnOnce(&mut Throttle, Mono) -> T) -> T {
        let now = Mono::default() + self.began.elapsed();
        work(&mut self.throttle.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// Whether this is the administrator's token.
    pub fn is_token(&self, text: &str) -> bool {
        same(&Digest::of(text.as_bytes()), &self.token)
    }

    /// A new one-time code.
    pub fn new_link(&self) -> Result<String, getrandom::Error> {
        add(&self.links, LINK_LIFE)
    }

    /// Opens a session for a one-time code, which is used up by this.
    pub fn open(&self, code: &str, now: Wall) -> Option<Result<String, getrandom::Error>> {
        let wanted = Digest::of(code.as_bytes());
        let mut links = lock(&self.links);
        let place = links.iter().position(|link| same(&link.hash, &wanted))?;
        links.remove(place);
        drop(links);
        let cookie = random_text();
        if let Ok(cookie) = &cookie {
            let life = i64::try_from(SESSION_LIFE.as_millis()).unwrap_or(i64::MAX);
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.retain(|session| session.ends > now);
            if sessions.len() >= MOST {
                sessions.remove(0);
            }
            sessions.push(Session {
                hash: Digest::of(cookie.as_bytes()),
                ends: Wall(now.0.saturating_add(life)),
            });
        }
        Some(cookie)
    }

    /// Whether this is the cookie of an open session.
    pub fn is_session(&self, cookie: &str, now: Wall) -> bool {
        let wanted = Digest::of(cookie.as_bytes());
        // All are compared, so that the time says nothing about which one it is.
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions
            .iter()
            .filter(|session| same(&session.hash, &wanted) && session.ends > now)
            .count()
            > 0
    }
}

fn add(secrets: &Mutex<Vec<Secret>>, life: Duration) -> Result<String, getrandom::Error> {
    let text = random_text()?;
    let mut secrets = lock(secrets);
    if secrets.len() >= MOST {
        secrets.remove(0);
    }
    secrets.push(Secret {
        hash: Digest::of(text.as_bytes()),
        ends: Instant::now() + life,
    });
    Ok(text)
}

fn lock(secrets: &Mutex<Vec<Secret>>) -> MutexGuard<'_, Vec<Secret>> {
    let mut secrets = secrets.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    secrets.retain(|secret| secret.ends > now);
    secrets
}

/// A new secret: 32 hex digits.
pub fn random_text() -> Result<String, getrandom::Error> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(wire::ids::CommandId(bytes).to_string())
}

/// Compares without telling by its time where they differ.
pub fn same(left: &Digest, right: &Digest) -> bool {
    let differences = left.0.iter().zip(&right.0).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Auth {
        let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        Auth::new(Digest::of(b"secret"), Signer::new("test.internal", &key, &[]))
    }

    #[test]
    fn only_the_token_is_the_token() {
        assert!(door().is_token("secret"));
        for wrong in ["", "secre", "secret ", "SECRET"] {
            assert!(!door().is_token(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_link_opens_one_session_once() {
        let door = door();
        let code = door.new_link().expect("random bytes");
        assert!(door.open("another", Wall(0)).is_none());
        let cookie = door.open(&code, Wall(0)).expect("a link").expect("random bytes");
        assert!(door.is_session(&cookie, Wall(0)));
        assert!(door.open(&code, Wall(0)).is_none(), "used up");
        assert!(!door.is_session(&code, Wall(0)) && !door.is_token(&cookie));
    }

    #[test]
    fn a_session_outlives_the_process_and_not_its_day() {
        let before = door();
        let code = before.new_link().expect("random bytes");
        let cookie = before.open(&code, Wall(1_000)).expect("a link").expect("random bytes");
        let after = door().with_sessions(&before.kept_sessions());
        assert!(after.is_session(&cookie, Wall(1_001)));
        let life = i64::try_from(SESSION_LIFE.as_millis()).expect("hours");
        assert!(!after.is_session(&cookie, Wall(1_000 + life)));
        for damaged in [&[][..], &[9], &[SESSIONS_VERSION, 255]] {
            assert!(!door().with_sessions(damaged).is_session(&cookie, Wall(1_001)));
        }
    }

    #[test]
    fn the_oldest_gives_way() {
        let door = door();
        let first = door.new_link().expect("random bytes");
        for _ in 0..MOST {
            door.new_link().expect("random bytes");
        }
        assert!(door.open(&first, Wall(0)).is_none());
        assert_eq!(lock(&door.links).len(), MOST);
    }
}
