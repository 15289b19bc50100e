//! Passwords: argon2id, off the turn loop, a bounded number at a time.
//!
//! A hash takes 19 MiB and some 30 ms by design, so at most [`AT_ONCE`] are made at a time and at most [`WAITING`] wait; whoever
//! comes beyond that is told to come again. A name that nobody has takes as long as one with a wrong password.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use super::Failure;

/// Hashes at a time: 38 MiB, and the cores stay free for agents.
const AT_ONCE: usize = 2;
/// Hashes that may wait: half a second of work.
const WAITING: usize = 16;
/// Shortest password, in characters.
const LEAST: usize = 8;
/// Longest password, in characters.
const MOST: usize = 256;
/// Hash of no password, with the parameters of all others: what a name that nobody has is compared with.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Makes and checks hashes.
#[derive(Debug, Clone)]
pub struct Passwords {
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::default(),
        }
    }
}

/// Counts one that waits, for as long as it lives.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a password can be set.
pub fn checked(password: &str) -> Result<(), Failure> {
    let length = password.chars().count();
    if (LEAST..=MOST).contains(&length) {
        return Ok(());
    }
    Err(Failure::field(
        "/password",
        format!("the password has {length} characters, it must have {LEAST} to {MOST}"),
    ))
}

impl Passwords {
    /// The hash of a new password, in PHC format.
    pub async fn hash(&self, password: String) -> Result<String, Failure> {
        checked(&password)?;
        self.work(move || {
            let hash = Argon2::default().hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string())
                .map_err(|error| Failure::internal(format!("the password cannot be hashed: {error}")))
        })
        .await?
    }

    /// Whether this password has that hash; `None` for a person that does not exist.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Failure> {
        self.work(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
            let same = PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
            known && same
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        let crowded = self.waiting.fetch_add(1, Ordering::Relaxed) >= AT_ONCE + WAITING;
        let _waits = Waits(&self.waiting);
        if crowded {
            return Err(Failure::unavailable(
                "too many people log in at once: try again in a second",
            ));
        }
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| Failure::unavailable("the hub stops"))?;
        tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        })
        .await
        .map_err(|_| Failure::internal("hashing failed badly; the log says where"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_has_its_hash_and_no_other() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".to_owned()).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        for (password, known, expected) in [
            ("correct horse", true, true),
            ("correct Horse", true, false),
            ("", true, false),
            ("correct horse", false, false),
        ] {
            let hash = known.then(|| hash.clone());
            let same = passwords.verify(password.to_owned(), hash).await.expect("checked");
            assert_eq!(same, expected, "{password} {known}");
        }
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn nobody_has_a_hash_that_is_as_much_work() {
        assert!(PasswordHash::new(NOBODY).is_ok());
    }

    #[tokio::test]
    async fn a_short_password_is_refused_with_its_length() {
        let told = Passwords::default().hash("short".to_owned()).await.expect_err("short");
        assert!(told.detail().contains("5 characters"), "{}", told.detail());
    }
}
