//! Access tokens: JWTs that this hub signs with Ed25519 and that live 15 minutes.
//!
//! A token says whose session it belongs to; whether that session is still open, and what its person may do, is looked up at each
//! request, so that a token is worth nothing from the moment that its session is closed.
//!
//! Invariant: no other algorithm, key, issuer or audience is accepted, whatever a token's head says.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use wire::ids::Digest;
use wire::time::Wall;

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
    head: Header,
    sign: EncodingKey,
    accepted: Vec<(String, DecodingKey)>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("key", &self.head.kid)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs with this key; accepts also what `former` signed.
    pub fn new(trust_domain: &str, key: &SigningKey, former: &[SigningKey]) -> Self {
        let mut pkcs8 = PKCS8_HEAD.to_vec();
        pkcs8.extend(key.to_bytes());
        let mut head = Header::new(Algorithm::EdDSA);
        head.kid = Some(key_id(key));
        let accepted = std::iter::once(key).chain(former).map(|key| {
            let public = DecodingKey::from_ed_der(key.verifying_key().as_bytes());
            (key_id(key), public)
        });
        Self {
            issuer: format!("sentinel-hub/{trust_domain}"),
            head,
            sign: EncodingKey::from_ed_der(&pkcs8),
            accepted: accepted.collect(),
        }
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
        jsonwebtoken::encode(&self.head, &claims, &self.sign)
    }

    /// What a token says, if this hub signed it; the error is for people.
    pub fn verify(&self, token: &str, now: Wall) -> Result<Claims, String> {
        let unknown = || "the access token is not this hub's: log in again".to_owned();
        let head = jsonwebtoken::decode_header(token).map_err(|_| unknown())?;
        let key = self.accepted.iter().find(|(id, _)| Some(id) == head.kid.as_ref());
        let mut wanted = Validation::new(Algorithm::EdDSA);
        wanted.set_audience(&[AUDIENCE]);
        wanted.set_issuer(&[&self.issuer]);
        wanted.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The same clock made it; judged below, so that a test can say when it is.
        wanted.validate_exp = false;
        let (_, key) = key.ok_or_else(unknown)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &wanted)
            .map_err(|_| unknown())?
            .claims;
        if claims.exp.saturating_mul(1_000) <= now.0 {
            return Err("the access token has expired: refresh it, or log in again".to_owned());
        }
        Ok(claims)
    }
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
    fn forged_heads_and_bodies_are_refused() {
        let signer = signer(1);
        let token = signer.sign("ann", "s1", NOW).expect("signed");
        let parts: Vec<&str> = token.split('.').collect();
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let kid = key_id(&SigningKey::from_bytes(&[1; 32]));
        let none = part(&format!(r#"{{"alg":"none","kid":"{kid}"}}"#));
        let hs256 = part(&format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#));
        let mine = r#"{"iss":"sentinel-hub/test.internal","aud":"other","sub":"a","sid":"s","iat":1,"exp":9999999999}"#;
        let other_audience = jsonwebtoken::encode(
            &signer.head,
            &serde_json::from_str::<Claims>(mine).expect("claims"),
            &signer.sign,
        );
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
