//! Role documents on a running hub: the keys that they name are taken up without a restart.

use wire::roles::{Role, Roles};
use wire::{Parcel, SignedRoles};

use super::*;

fn role(seed: u8) -> Role {
    Role::single(SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())
}

/// Documents 1 to `version`; document `n` gives the beacon role to key `20 + n`, and the policy role to key 7 and then `40 + n`.
fn documents(version: u8) -> Vec<u8> {
    let document = |version: u8| {
        let roles = Roles {
            version: version.into(),
            trust_domain: "test.internal".to_owned(),
            issued_at: Wall(0),
            root: role(1),
            policy: role(if version == 1 { 7 } else { 40 + version }),
            beacon: role(20 + version),
        };
        SignedRoles::unsigned(&roles).signed_by(&SigningKey::from_bytes(&[1; 32]))
    };
    Parcel {
        roles: (1..=version).map(document).collect(),
        ..Parcel::default()
    }
    .encode()
}

impl TestHub {
    async fn trust(&self, version: u8) -> Value {
        let request = Request::builder()
            .method("POST")
            .uri("/api/v1/policies/roles")
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(Body::from(documents(version)))
            .expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("handlers never fail");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&body).expect("JSON")
    }
}

#[tokio::test]
async fn a_new_beacon_key_counts_without_a_restart() {
    let mut hub = TestHub::start().await;
    let folder = hub.folder.path().to_owned();
    std::fs::write(folder.join("roles.parcel"), documents(1)).expect("written");
    let bundle = hub.publish().await;
    let _agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    // Its key is not there yet, then it is: the same document says so.
    let view = hub.trust(2).await;
    assert_eq!((&view["version"], &view["signs_beacons"]), (&2.into(), &false.into()));
    std::fs::write(folder.join("beacon-v2-1.key"), [22; 32]).expect("written");
    let view = hub.trust(2).await;
    assert_eq!((&view["version"], &view["signs_beacons"]), (&2.into(), &true.into()));
    let ring = role(22).ring;
    hub.frame(|frame| match frame {
        Frame::Beacon(beacon) => beacon.open(&ring, "test.internal").ok(),
        _ => None,
    })
    .await;
    // A file that is no key stops no roles; the hub signs with what it had as long as that counts.
    std::fs::write(folder.join("beacon-a.key"), b"no key").expect("written");
    assert_eq!(hub.trust(2).await["signs_beacons"], true);
    assert_eq!(hub.trust(3).await["signs_beacons"], false);
    hub.stop().await;
}

#[tokio::test]
async fn a_new_policy_key_counts_without_a_restart() {
    let mut hub = TestHub::start().await;
    let folder = hub.folder.path().to_owned();
    std::fs::write(folder.join("roles.parcel"), documents(1)).expect("written");
    let bundle = hub.publish().await;
    let _agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    // The present key counts no more, and the new one is not there.
    assert_eq!(hub.trust(2).await["signs_bundles"], false);
    let refused = hub.admin("POST", "/api/v1/policies", policy::DEMO_BUNDLE, 409).await;
    assert!(refused.to_string().contains("pki folder as policy*.key"), "{refused}");
    std::fs::write(folder.join("policy-v2-1.key"), [42; 32]).expect("written");
    assert_eq!(hub.trust(2).await["signs_bundles"], true);
    let bundle = hub.publish().await;
    let ring = role(42).ring;
    hub.frame(|frame| match frame {
        Frame::Bundle(signed) if signed.digest() == bundle.digest => signed.open(&ring, "test.internal").ok(),
        _ => None,
    })
    .await;
    // It lies beside the next one before that counts.
    std::fs::write(folder.join("policy-v3-1.key"), [43; 32]).expect("written");
    assert_eq!(hub.trust(2).await["signs_bundles"], true);
    assert_eq!(hub.trust(3).await["signs_bundles"], true);
    hub.stop().await;
}
