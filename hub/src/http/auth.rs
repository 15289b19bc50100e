//! The ways in that are no person's: the administrator's token, one-time links, the sessions that they open, and the link of the
//! first person.
//!
//! Keeps hashes only. Nothing here survives a restart but the token's hash, so a restart ends these sessions and links; those of
//! people are documents of the core.
//!
//! Invariant: a link's code opens at most one session; comparing secrets takes the same time whatever they are.
//! Read next: `identity.rs` (who somebody is), `door.rs` (how they are known), `jwt.rs`, `password.rs`, `throttle.rs`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wire::ids::Digest;
use wire::time::Mono;

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
    sessions: Mutex<Vec<Secret>>,
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
    pub fn open(&self, code: &str) -> Option<Result<String, getrandom::Error>> {
        let wanted = Digest::of(code.as_bytes());
        let mut links = lock(&self.links);
        let place = links.iter().position(|link| same(&link.hash, &wanted))?;
        links.remove(place);
        drop(links);
        Some(add(&self.sessions, SESSION_LIFE))
    }

    /// Whether this is the cookie of an open session.
    pub fn is_session(&self, cookie: &str) -> bool {
        let wanted = Digest::of(cookie.as_bytes());
        // All are compared, so that the time says nothing about which one it is.
        lock(&self.sessions)
            .iter()
            .filter(|session| same(&session.hash, &wanted))
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
        assert!(door.open("another").is_none());
        let cookie = door.open(&code).expect("a link").expect("random bytes");
        assert!(door.is_session(&cookie));
        assert!(door.open(&code).is_none(), "used up");
        assert!(!door.is_session(&code) && !door.is_token(&cookie));
    }

    #[test]
    fn an_expired_session_is_none() {
        let door = door();
        let cookie = add(&door.sessions, Duration::ZERO).expect("random bytes");
        assert!(!door.is_session(&cookie));
    }

    #[test]
    fn the_oldest_gives_way() {
        let door = door();
        let first = door.new_link().expect("random bytes");
        for _ in 0..MOST {
            door.new_link().expect("random bytes");
        }
        assert!(door.open(&first).is_none());
        assert_eq!(lock(&door.links).len(), MOST);
    }
}
