//! Webhooks of forges: who sent it, whether it is theirs, and what it says. Pure rules on headers and raw bytes.
//!
//! The signature is checked before anything is parsed; a native signature that is wrong is never excused by another one. A source
//! without a secret accepts nothing.
//!
//! Sources: GitHub (`X-Hub-Signature-256` over the raw body), Gitea and Forgejo (`X-Gitea-Signature`, bare hexadecimal, beside
//! GitHub's headers), GitLab (`X-Gitlab-Token`, or the Standard Webhooks signature).
//!
//! Read next: `webhooks/event.rs` (what becomes a task), `http/hooks.rs` (the route).

pub mod event;

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A forge's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// github.com and GitHub Enterprise Server.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea.
    Gitea,
    /// Forgejo, which signs as Gitea does.
    Forgejo,
}

/// Largest body taken, in bytes: GitHub's own limit is 25 MB.
pub const BODY_BYTES: usize = 26 << 20;
/// A signed time may be this far from ours.
const SKEW_S: i64 = 300;

/// Why a delivery is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No signature, a malformed one, or a wrong one.
    #[error("bad_signature")]
    BadSignature,
    /// The signed time is too far from ours.
    #[error("stale_timestamp")]
    Stale,
    /// The body is not a JSON object.
    #[error("body is not a JSON object")]
    NotAnObject,
}

/// Gives headers by lower-case name.
pub trait Headers {
    /// The header's text.
    fn text(&self, name: &str) -> Option<&str>;
}

impl Headers for axum::http::HeaderMap {
    fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Checks that whoever holds one of `secrets` sent `body`. `now_s` is Unix time. All secrets are tried, so that the time taken does
/// not tell which one fits.
pub fn verify(
    provider: Provider,
    headers: &impl Headers,
    body: &[u8],
    secrets: &[&str],
    now_s: i64,
) -> Result<(), Refusal> {
    let is_ours = match provider {
        Provider::Gitea | Provider::Forgejo => match headers.text("x-gitea-signature") {
            Some(signature) => any(secrets, |secret| is_hmac(secret.as_bytes(), &[body], signature)),
            None => false,
        },
        Provider::Github => match headers
            .text("x-hub-signature-256")
            .and_then(|text| text.strip_prefix("sha256="))
        {
            Some(signature) => any(secrets, |secret| is_hmac(secret.as_bytes(), &[body], signature)),
            None => false,
        },
        Provider::Gitlab => match headers.text("webhook-signature") {
            Some(signatures) => return standard(headers, body, secrets, signatures, now_s),
            None => match headers.text("x-gitlab-token") {
                Some(token) => any(secrets, |secret| same(token.as_bytes(), secret.as_bytes())),
                None => false,
            },
        },
    };
    if is_ours { Ok(()) } else { Err(Refusal::BadSignature) }
}

/// Names the delivery: the forge's own id, else the body's digest.
pub fn delivery_id(provider: Provider, headers: &impl Headers, body: &[u8]) -> String {
    let names: &[&str] = match provider {
        Provider::Gitea | Provider::Forgejo => &["x-gitea-delivery", "x-forgejo-delivery"],
        Provider::Github => &["x-github-delivery"],
        Provider::Gitlab => &["webhook-id", "idempotency-key", "x-gitlab-event-uuid"],
    };
    let given = names
        .iter()
        .find_map(|name| headers.text(name))
        .filter(|id| !id.is_empty() && id.len() <= 100);
    given.map_or_else(|| wire::ids::Digest::of(body).to_string(), str::to_owned)
}

/// The event's name.
pub fn event_name(provider: Provider, headers: &impl Headers) -> String {
    let name = match provider {
        Provider::Gitea | Provider::Forgejo => "x-gitea-event",
        Provider::Github => "x-github-event",
        Provider::Gitlab => "x-gitlab-event",
    };
    headers.text(name).unwrap_or_default().to_owned()
}

/// Standard Webhooks: `v1,<base64>` of `id.timestamp.body`, several of them separated by blanks.
fn standard(
    headers: &impl Headers,
    body: &[u8],
    secrets: &[&str],
    signatures: &str,
    now_s: i64,
) -> Result<(), Refusal> {
    let (Some(id), Some(time)) = (headers.text("webhook-id"), headers.text("webhook-timestamp")) else {
        return Err(Refusal::BadSignature);
    };
    let signed: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", body];
    let base64 = &base64::engine::general_purpose::STANDARD;
    let is_ours = any(secrets, |secret| {
        let key = secret
            .strip_prefix("whsec_")
            .and_then(|text| base64.decode(text).ok())
            .unwrap_or_else(|| secret.as_bytes().to_vec());
        signatures
            .split(' ')
            .filter_map(|signature| base64.decode(signature.strip_prefix("v1,")?).ok())
            .fold(false, |found, signature| found | same(&hmac(&key, &signed), &signature))
    });
    if !is_ours {
        return Err(Refusal::BadSignature);
    }
    match time.parse::<i64>() {
        Ok(time) if (now_s - time).abs() <= SKEW_S => Ok(()),
        _ => Err(Refusal::Stale),
    }
}

fn any(secrets: &[&str], fits: impl Fn(&str) -> bool) -> bool {
    secrets
        .iter()
        .filter(|secret| !secret.is_empty())
        .fold(false, |found, secret| found | fits(secret))
}

fn is_hmac(key: &[u8], parts: &[&[u8]], signature: &str) -> bool {
    let digits = signature.len() == 64 && signature.bytes().all(|byte| byte.is_ascii_hexdigit());
    let expected: String = hmac(key, parts).iter().map(|byte| format!("{byte:02x}")).collect();
    digits & same(expected.as_bytes(), signature.to_ascii_lowercase().as_bytes())
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| hmac.update(part));
    hmac.finalize().into_bytes().to_vec()
}

fn same(one: &[u8], other: &[u8]) -> bool {
    use subtle::ConstantTimeEq as _;
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Headers for &[(&str, String)] {
        fn text(&self, name: &str) -> Option<&str> {
            self.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.as_str())
        }
    }

    fn hex(secret: &str, body: &[u8]) -> String {
        hmac(secret.as_bytes(), &[body])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn check(provider: Provider, headers: &[(&str, String)], secrets: &[&str], expected: Result<(), Refusal>) {
        assert_eq!(
            verify(provider, &headers, b"body", secrets, 1_000),
            expected,
            "{headers:?}"
        );
    }

    #[test]
    fn github_s_published_example_is_accepted() {
        // Source: GitHub's documentation, "Validating webhook deliveries", testing values.
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17".to_owned();
        let headers = [("x-hub-signature-256", signature)];
        let result = verify(
            Provider::Github,
            &&headers[..],
            b"Hello, World!",
            &["It's a Secret to Everybody"],
            0,
        );
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn a_wrong_missing_or_malformed_signature_is_refused_and_no_secret_accepts_nothing() {
        let good = hex("s", b"body");
        let bad = Err(Refusal::BadSignature);
        for provider in [Provider::Gitea, Provider::Forgejo] {
            check(provider, &[("x-gitea-signature", good.clone())], &["s"], Ok(()));
            check(provider, &[("x-gitea-signature", good.clone())], &["new", "s"], Ok(()));
            check(provider, &[("x-gitea-signature", hex("t", b"body"))], &["s"], bad);
            // GitHub's header beside a wrong one of its own excuses nothing.
            check(
                provider,
                &[
                    ("x-gitea-signature", "00".repeat(32)),
                    ("x-hub-signature-256", format!("sha256={good}")),
                ],
                &["s"],
                bad,
            );
        }
        for header in [
            "nonsense".to_owned(),
            "sha256=00".to_owned(),
            format!("sha1={good}"),
            good.clone(),
        ] {
            check(Provider::Github, &[("x-hub-signature-256", header)], &["s"], bad);
        }
        check(Provider::Github, &[], &["s"], bad);
        check(
            Provider::Github,
            &[("x-hub-signature-256", format!("sha256={}", hex("", b"body")))],
            &[""],
            bad,
        );
        check(Provider::Gitlab, &[("x-gitlab-token", "t".to_owned())], &["s"], bad);
        check(Provider::Gitlab, &[("x-gitlab-token", "s".to_owned())], &["s"], Ok(()));
    }

    #[test]
    fn a_standard_webhook_is_bound_to_its_time() {
        let base64 = &base64::engine::general_purpose::STANDARD;
        let signed = |time: &str| {
            let signature = base64.encode(hmac(b"key", &[b"id.", time.as_bytes(), b".body"]));
            [
                ("webhook-id", "id".to_owned()),
                ("webhook-timestamp", time.to_owned()),
                ("webhook-signature", format!("v1,AAAA v1,{signature}")),
            ]
        };
        let secret = format!("whsec_{}", base64.encode(b"key"));
        check(Provider::Gitlab, &signed("1200"), &[&secret], Ok(()));
        check(Provider::Gitlab, &signed("1301"), &[&secret], Err(Refusal::Stale));
        check(
            Provider::Gitlab,
            &signed("1200"),
            &["other"],
            Err(Refusal::BadSignature),
        );
    }
}
