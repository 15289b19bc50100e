//! Access tokens: JWTs that this hub signs with Ed25519 and that live 15 minutes.
//!
//! A token says whose session it belongs to; whether that session is still open, and what its person may do, is looked up at each
//! request, so that a token is worth nothing from the moment that its session is closed.
//!
//! Keys are rotated: a new one signs from then on, and tokens of the former are good until they end by themselves; at the latest
//! [`ACCESS_LIFE`] after the rotation nothing of the former key is accepted, so that a copy of it is worth nothing.
//!
//! Invariant: no other algorithm, key, issuer or audience is accepted, whatever a token's head says.

use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use wire::api::TokenKeyView;
use wire::ids::Digest;
use wire::time::Wall;

use crate::keys::KeyError;
use crate::keys::tokens::{ROTATED_AFTER, TokenKey, TokenKeyFile, rotated};

/// How long an access token lives: a stolen one is worth little.
pub const ACCESS_LIFE: Duration = Duration::from_secs(15 * 60);
/// Whom tokens are for.
const AUDIENCE: &str = "sentinel-api";
/// What stands before an Ed25519 seed in PKCS #8 (RFC 8410, version 1).
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Which hub.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// Name of the person, for people who look into a token.
    pub sub: String,
    /// Id of the session.
    pub sid: String,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// Until when it is good, in seconds since 1970.
    pub exp: i64,
}

/// A hub's keys: the first signs, all are accepted.
pub struct Signer {
    issuer: String,
    file: Option<TokenKeyFile>,
    ring: RwLock<Ring>,
}

/// The keys in the forms that are needed.
struct Ring {
    keys: Vec<TokenKey>,
    head: Header,
    sign: EncodingKey,
    accepted: Vec<(String, DecodingKey, Option<Wall>)>,
}

impl Ring {
    /// `keys` holds at least the one that signs.
    fn of(keys: Vec<TokenKey>) -> Self {
        let first = keys.first().map(|first| &first.key);
        let first = first.expect("a file without keys is damaged, and a rotation adds one");
        let mut pkcs8 = PKCS8_HEAD.to_vec();
        pkcs8.extend(first.to_bytes());
        let mut head = Header::new(Algorithm::EdDSA);
        head.kid = Some(key_id(first));
        let accepted = keys.iter().map(|key| {
            let public = DecodingKey::from_ed_der(key.key.verifying_key().as_bytes());
            (key_id(&key.key), public, key.accepted_until)
        });
        Self {
            head,
            sign: EncodingKey::from_ed_der(&pkcs8),
            accepted: accepted.collect(),
            keys,
        }
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs with this key, which is kept nowhere; accepts also what `former` signed.
    pub fn new(trust_domain: &str, key: &SigningKey, former: &[SigningKey]) -> Self {
        let keys = std::iter::once(key).chain(former).map(|key| TokenKey {
            key: key.clone(),
            made_at: Wall(0),
            accepted_until: None,
        });
        Self::of(trust_domain, None, keys.collect())
    }

    /// Signs with the keys of this file, `before` being that of a hub that had no such file. Blocks.
    pub fn open(trust_domain: &str, file: TokenKeyFile, before: &Path, now: Wall) -> Result<Self, KeyError> {
        let keys = file.open(before, now)?;
        Ok(Self::of(trust_domain, Some(file), keys))
    }

    fn of(trust_domain: &str, file: Option<TokenKeyFile>, keys: Vec<TokenKey>) -> Self {
        Self {
            issuer: format!("sentinel-hub/{trust_domain}"),
            file,
            ring: RwLock::new(Ring::of(keys)),
        }
    }

    /// A new key signs from here on; tokens of the present one are good until they end, or are worth nothing at once where `is_stolen`.
    /// Returns the id of the new key once it is on the disk. Blocks.
    pub fn rotate(&self, now: Wall, is_stolen: bool) -> Result<String, KeyError> {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let until = if is_stolen {
            now
        } else {
            super::login::later(now, ACCESS_LIFE)
        };
        let keys = rotated(&ring.keys, now, until)?;
        if let Some(file) = &self.file {
            file.write(&keys)?;
        }
        *ring = Ring::of(keys);
        Ok(ring.head.kid.clone().unwrap_or_default())
    }

    /// Rotates if the present key has signed for long enough. Returns the id of the new key if there is one. Blocks.
    pub fn rotate_if_old(&self, now: Wall) -> Result<Option<String>, KeyError> {
        let is_old = self.ring(|ring| {
            let made = ring.keys.first().map(|key| key.made_at);
            made.is_some_and(|made| now >= super::login::later(made, ROTATED_AFTER))
        });
        is_old.then(|| self.rotate(now, false)).transpose()
    }

    /// Every key whose tokens are accepted, the one that signs first.
    pub fn keys(&self, now: Wall) -> Vec<TokenKeyView> {
        self.ring(|ring| {
            let live = ring.keys.iter().filter(|key| is_accepted(key.accepted_until, now));
            let view = |key: &TokenKey| TokenKeyView {
                id: key_id(&key.key),
                algorithm: "EdDSA".to_owned(),
                public_key: URL_SAFE_NO_PAD.encode(key.key.verifying_key().as_bytes()),
                signs: key.accepted_until.is_none(),
                made_at: key.made_at,
                accepted_until: key.accepted_until,
            };
            live.map(view).collect()
        })
    }

    fn ring<T>(&self, read: impl FnOnce(&Ring) -> T) -> T {
        read(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A token for a session.
    pub fn sign(&self, name: &str, session: &str, now: Wall) -> Result<String, jsonwebtoken::errors::Error> {
        let iat = now.0.div_euclid(1_000);
        let life = i64::try_from(ACCESS_LIFE.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: name.to_owned(),
            sid: session.to_owned(),
            iat,
            exp: iat.saturating_add(life),
        };
        self.ring(|ring| jsonwebtoken::encode(&ring.head, &claims, &ring.sign))
    }

    /// What a token says, if this hub signed it; the error is for people.
    pub fn verify(&self, token: &str, now: Wall) -> Result<Claims, String> {
        let unknown = || "the access token is not this hub's: log in again".to_owned();
        let head = jsonwebtoken::decode_header(token).map_err(|_| unknown())?;
        let mut wanted = Validation::new(Algorithm::EdDSA);
        wanted.set_audience(&[AUDIENCE]);
        wanted.set_issuer(&[&self.issuer]);
        wanted.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The same clock made it; judged below, so that a test can say when it is.
        wanted.validate_exp = false;
        let claims = self.ring(|ring| {
            let mut keys = ring.accepted.iter();
            let (_, key, until) = keys
                .find(|(id, ..)| Some(id) == head.kid.as_ref())
                .ok_or_else(unknown)?;
            if !is_accepted(*until, now) {
                return Err("the key of this access token has been replaced: refresh it, or log in again".to_owned());
            }
            let read = jsonwebtoken::decode::<Claims>(token, key, &wanted).map_err(|_| unknown())?;
            Ok(read.claims)
        })?;
        if claims.exp.saturating_mul(1_000) <= now.0 {
            return Err("the access token has expired: refresh it, or log in again".to_owned());
        }
        Ok(claims)
    }
}

fn is_accepted(until: Option<Wall>, now: Wall) -> bool {
    until.is_none_or(|until| now < until)
}

fn key_id(key: &SigningKey) -> String {
    URL_SAFE_NO_PAD.encode(&Digest::of(key.verifying_key().as_bytes()).0[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_800_000_000_000);

    fn signer(seed: u8) -> Signer {
        Signer::new("test.internal", &SigningKey::from_bytes(&[seed; 32]), &[])
    }

    #[test]
    fn a_token_is_good_for_fifteen_minutes() {
        let signer = signer(1);
        let token = signer.sign("ann", "s1", NOW).expect("signed");
        let claims = signer.verify(&token, NOW).expect("good");
        assert_eq!((claims.sub.as_str(), claims.sid.as_str()), ("ann", "s1"));
        let last = Wall(NOW.0 + 15 * 60_000 - 1);
        assert!(signer.verify(&token, last).is_ok());
        let told = signer.verify(&token, Wall(last.0 + 1)).expect_err("expired");
        assert!(told.contains("expired"), "{told}");
    }

    #[test]
    fn a_former_key_is_accepted_and_a_foreign_one_is_not() {
        let (old, new) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let token = signer(1).sign("ann", "s1", NOW).expect("signed");
        assert!(Signer::new("test.internal", &new, &[old]).verify(&token, NOW).is_ok());
        assert!(signer(2).verify(&token, NOW).is_err());
    }

    #[test]
    fn after_a_rotation_tokens_end_by_themselves_and_a_copy_of_the_old_key_is_worth_nothing() {
        let signer = signer(1);
        let before = signer.sign("ann", "s1", NOW).expect("signed");
        let first = signer.keys(NOW);
        let id = signer.rotate(NOW, false).expect("random bytes");
        assert!(signer.verify(&before, NOW).is_ok(), "nobody is logged out");
        let after = signer.sign("ann", "s1", NOW).expect("signed");
        assert!(signer.verify(&after, NOW).is_ok());
        let keys = signer.keys(NOW);
        assert_eq!(
            (keys.len(), keys[0].id.as_str(), keys[1].id.as_str()),
            (2, id.as_str(), first[0].id.as_str())
        );
        // Whoever copied the old key makes tokens that end later.
        let end = Wall(NOW.0 + 15 * 60_000);
        let copied = Signer::new("test.internal", &SigningKey::from_bytes(&[1; 32]), &[]);
        let late = copied.sign("eve", "s1", end).expect("signed");
        let told = signer.verify(&late, end).expect_err("the old key has ended");
        assert!(told.contains("replaced"), "{told}");
        assert_eq!(signer.keys(end).len(), 1);
    }

    #[test]
    fn a_stolen_key_ends_at_once_and_an_old_one_by_itself() {
        let signer = signer(1);
        let token = signer.sign("ann", "s1", NOW).expect("signed");
        assert!(signer.rotate_if_old(Wall(29 * 86_400_000)).expect("fine").is_none());
        signer.rotate(NOW, true).expect("random bytes");
        assert!(signer.verify(&token, NOW).is_err());
        let month = Wall(NOW.0 + 30 * 86_400_000);
        assert!(signer.rotate_if_old(Wall(month.0 - 1)).expect("fine").is_none());
        assert!(signer.rotate_if_old(month).expect("random bytes").is_some());
    }

    #[test]
    fn forged_heads_and_bodies_are_refused() {
        let signer = signer(1);
        let token = signer.sign("ann", "s1", NOW).expect("signed");
        let parts: Vec<&str> = token.split('.').collect();
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let kid = key_id(&SigningKey::from_bytes(&[1; 32]));
        let none = part(&format!(r#"{{"alg":"none","kid":"{kid}"}}"#));
        let hs256 = part(&format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#));
        let mine = r#"{"iss":"sentinel-hub/test.internal","aud":"other","sub":"a","sid":"s","iat":1,"exp":9999999999}"#;
        let claims = serde_json::from_str::<Claims>(mine).expect("claims");
        let other_audience = signer.ring(|ring| jsonwebtoken::encode(&ring.head, &claims, &ring.sign));
        let other_hub = Signer::new("other.internal", &SigningKey::from_bytes(&[1; 32]), &[]);
        for forged in [
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{hs256}.{}.{}", parts[1], parts[2]),
            format!("{}.{}.{}", parts[0], part(mine), parts[2]),
            other_audience.expect("signed"),
            other_hub.sign("ann", "s1", NOW).expect("signed"),
            "a.b.c".to_owned(),
            "..".to_owned(),
        ] {
            assert!(signer.verify(&forged, NOW).is_err(), "{forged}");
        }
    }
}
