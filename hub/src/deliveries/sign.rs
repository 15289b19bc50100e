//! Signatures of outgoing webhooks, and the secrets behind them.
//!
//! No secret is stored: each is derived from the hub's own key, the webhook's id and the version of its secret. After a secret was
//! replaced the former one signs beside it until the next time, so that a receiver changes over without losing a delivery.
//!
//! Source: Standard Webhooks 1.0 (headers, what is signed, `whsec_`, several signatures with spaces).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hub_core::webhooks::Webhook;
use sha2::Sha256;

/// What secrets begin with.
const PREFIX: &str = "whsec_";

/// Derives the secrets of all webhooks.
#[derive(Clone)]
pub struct Secrets([u8; 32]);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| hmac.update(part));
    hmac.finalize().into_bytes().into()
}

impl Secrets {
    /// Secrets of a hub with this key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    fn bytes(&self, hook: &Webhook, version: u32) -> [u8; 32] {
        let version = version.to_be_bytes();
        hmac(&self.0, &[b"webhook\0", hook.id.as_bytes(), b"\0", &version])
    }

    /// A webhook's present secret, as its receiver is given it.
    pub fn text(&self, hook: &Webhook) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.bytes(hook, hook.secret_version)))
    }

    /// The header `webhook-signature`: by the present secret, and by the former one if there was one.
    pub fn signatures(&self, hook: &Webhook, id: &str, seconds: i64, body: &[u8]) -> String {
        let former = hook.secret_version.checked_sub(1).filter(|version| *version > 0);
        let versions = [hook.secret_version].into_iter().chain(former);
        let each = versions.map(|version| signature(&self.bytes(hook, version), id, seconds, body));
        each.collect::<Vec<_>>().join(" ")
    }
}

/// One signature: `v1,` and what is signed is `id.seconds.body`.
pub fn signature(secret: &[u8], id: &str, seconds: i64, body: &[u8]) -> String {
    let seconds = seconds.to_string();
    let mac = hmac(secret, &[id.as_bytes(), b".", seconds.as_bytes(), b".", body]);
    format!("v1,{}", STANDARD.encode(mac))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::time::Wall;

    fn hook(version: u32) -> Webhook {
        Webhook {
            id: "0198f3c0-0000-7000-8000-000000000001".to_owned(),
            name: "siem".to_owned(),
            url: "https://siem.example/".to_owned(),
            types: Vec::new(),
            secret_version: version,
            created_at: Wall(0),
            from: None,
        }
    }

    /// The example of the specification's own libraries (`test_vector` of standard-webhooks).
    #[test]
    fn a_known_message_has_the_known_signature() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn the_former_secret_signs_until_the_next_one_came() {
        let secrets = Secrets::new([7; 32]);
        let signed = |version| secrets.signatures(&hook(version), "id", 1, b"{}");
        let [first, second, third] = [1, 2, 3].map(signed);
        assert!(!first.contains(' '));
        assert!(second.ends_with(&format!(" {first}")));
        assert!(!third.contains(&first));
        assert!(secrets.text(&hook(1)).starts_with("whsec_"));
        assert_ne!(secrets.text(&hook(1)), secrets.text(&hook(2)));
    }
}
