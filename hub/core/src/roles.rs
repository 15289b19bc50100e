//! Who may sign what, as this hub holds it: which of its own keys still count, and what agents are told.
//!
//! The shell makes role documents durable before it tells of them, so what is trusted here survives a restart. Never makes a key,
//! never signs a role document.
//!
//! Invariant: the hub signs a bundle only where its one key is enough, and a beacon only with a key of the beacon role.
//! Read next: `wire/src/roles.rs` (what a chain is), `bundles.rs` (what is signed).

use ed25519_dalek::SigningKey;
use wire::SignedRoles;
use wire::bundle::KeyRing;
use wire::frame::{Frame, RoleDocuments};
use wire::ids::{Generation, KeyId};
use wire::roles::RoleChain;
use wire::time::Now;

use crate::effect::Answer;
use crate::hub::Hub;
use crate::input::{SessionId, Settings};

/// Generations beyond this come from stolen keys that were to use the numbers up: people who publish once a second need 292
/// billion years for them. They count until the keys are replaced.
const USED_UP: u64 = u64::MAX / 2;

/// Who signs bundles.
pub(crate) fn policy_ring(settings: &Settings) -> KeyRing {
    match (&settings.roles, &settings.policy_key) {
        (Some(chain), _) => chain.newest().policy.ring.clone(),
        (None, Some(key)) => KeyRing::single(key.verifying_key().to_bytes()),
        (None, None) => KeyRing {
            keys: Vec::new(),
            threshold: 1,
        },
    }
}

/// An error with its cause.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl Hub {
    /// Our policy key, if it alone may sign.
    pub(crate) fn signing_key(&self) -> Option<&SigningKey> {
        let key = self.settings.policy_key.as_ref()?;
        let ring = policy_ring(&self.settings);
        (ring.threshold <= 1 && ring.keys.contains(key.verifying_key().as_bytes())).then_some(key)
    }

    /// Why we sign no bundles, and what to do.
    pub(crate) fn signs_no_bundles(&self) -> String {
        let ring = policy_ring(&self.settings);
        let elsewhere = "sign it with `sentinel policy sign` and publish the parcel";
        if ring.threshold > 1 {
            let needed = ring.threshold;
            return format!("this hub signs no bundles, because {needed} keys of the policy role have to: {elsewhere}");
        }
        let names: Vec<_> = ring.keys.iter().map(|key| KeyId::of(key).to_string()).collect();
        format!(
            "this hub signs no bundles, because it has no key of the policy role ({}): put one into its pki folder as policy*.key and \
             publish the role documents once more; or {elsewhere}",
            names.join(", ")
        )
    }

    /// Our beacon key, if it may sign.
    pub(crate) fn beacon_key(&self) -> Option<&SigningKey> {
        let key = self.settings.beacon_key.as_ref()?;
        let counts = |chain: &RoleChain| chain.newest().beacon.ring.keys.contains(key.verifying_key().as_bytes());
        self.settings.roles.as_ref().is_none_or(counts).then_some(key)
    }

    /// A generation, unless it is one that stolen keys left behind.
    pub(crate) fn counted(&self, generation: Generation) -> Generation {
        let replaced = self
            .settings
            .roles
            .as_ref()
            .is_some_and(|chain| chain.policy_since() > 0);
        match replaced && generation.0 > USED_UP {
            true => Generation(0),
            false => generation,
        }
    }

    /// All role documents.
    pub(crate) fn documents(&self) -> Vec<SignedRoles> {
        let chain = self.settings.roles.as_ref();
        chain.map_or_else(Vec::new, |chain| chain.documents().to_vec())
    }

    /// Keys that lie at the hub: each takes the place of the one that there was.
    pub(crate) fn use_keys(&mut self, policy: Option<Box<SigningKey>>, beacon: Option<Box<SigningKey>>) {
        let settings = &mut self.settings;
        let present = [(&mut settings.policy_key, policy), (&mut settings.beacon_key, beacon)];
        for (place, given) in present {
            if let Some(key) = given {
                *place = Some(*key);
            }
        }
    }

    /// Role documents are durable: they count, and everyone hears of them.
    pub(crate) fn trust(&mut self, request: u64, chain: RoleChain, now: Now) {
        let version = chain.newest().version;
        self.settings.roles = Some(chain);
        let given = self.counted(self.bundles.given());
        self.bundles.beacon_again(given);
        self.wanted.generation_floor = self.counted(self.wanted.generation_floor);
        for session in self.sessions.ids() {
            self.push_roles(session);
        }
        // Behind the roles that name its key.
        self.beacon_if_due(now);
        let signs_beacons = self.beacon_key().is_some();
        let signs_bundles = self.signing_key().is_some();
        self.reply(
            request,
            Answer::Trusted {
                version,
                signs_beacons,
                signs_bundles,
            },
        );
    }

    pub(crate) fn push_roles(&mut self, session: SessionId) {
        let documents = self.documents();
        if !documents.is_empty() && self.sessions.live(session).is_some() {
            self.send(session, Frame::Roles(RoleDocuments { documents }));
        }
    }
}
