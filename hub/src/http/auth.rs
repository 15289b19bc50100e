//! Who may come in: the administrator's token, one-time links, and the console's sessions.
//!
//! Keeps hashes only. Nothing here survives a restart but the token's hash, so a restart ends all sessions and links.
//!
//! Invariant: a link's code opens at most one session; comparing secrets takes the same time whatever they are.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wire::ids::Digest;

/// How long a one-time link can be opened: the walk to another screen.
pub const LINK_LIFE: Duration = Duration::from_secs(600);
/// How long a console session lasts: a working day and a little.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3_600);
/// Links and sessions that may be open at once; the oldest gives way. People with several screens, not a public site.
const MOST: usize = 64;
/// Random bytes of every secret.
const SECRET_BYTES: usize = 16;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Holder of the administrator's token.
    Token,
    /// A browser with a session.
    Console,
}

impl Who {
    /// The name in decisions and entries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "admin",
            Self::Console => "admin (console)",
        }
    }
}

/// The door's memory.
#[derive(Debug)]
pub struct Auth {
    token: Digest,
    links: Mutex<Vec<Secret>>,
    sessions: Mutex<Vec<Secret>>,
}

#[derive(Debug)]
struct Secret {
    hash: Digest,
    ends: Instant,
}

impl Auth {
    /// A door that opens to the token with this hash.
    pub fn new(token: Digest) -> Self {
        Self {
            token,
            links: Mutex::default(),
            sessions: Mutex::default(),
        }
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
pub(super) fn same(left: &Digest, right: &Digest) -> bool {
    let differences = left.0.iter().zip(&right.0).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Auth {
        Auth::new(Digest::of(b"secret"))
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
