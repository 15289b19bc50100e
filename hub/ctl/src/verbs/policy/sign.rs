//! `sign` and `verify`: who stands behind a bundle, and whether that is enough.
//!
//! A key signs what its role lets it sign: a root key the newest role document, a policy key the bundle. Nothing unreadable is
//! ever signed. Invariant: `verify` accepts exactly what a node with the same pin accepts, floors aside.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use wire::bundle::{BundlePayload, KeyRing};
use wire::ids::{Generation, KeyId};
use wire::roles::{Pin, RoleChain};
use wire::{Digest, Parcel, RoleName, SignedBundle};

use super::files::{self, Given};
use super::keys::{self, now};
use crate::args::Sign;
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};

/// `sentinel policy sign FILE --key KEY…`.
pub fn sign(sign: &Sign, output: &mut Output) -> Result<Exit, Failure> {
    let (mut parcel, out) = match files::given(&sign.file)? {
        Given::Parcel(parcel) => (*parcel, sign.file.clone()),
        Given::Text(text) => (drafted(sign, text)?, sign.file.with_extension("parcel")),
    };
    if let Some(roles) = &sign.roles {
        parcel.roles = files::parcel(roles)?.roles;
    }
    for file in &sign.key {
        add(&mut parcel, sign, file)?;
    }
    let out = sign.out.clone().unwrap_or(out);
    files::write_parcel(&out, &parcel)?;
    // A bundle alone is held against the documents that its key belongs to, as its nodes will.
    let beside = match parcel.roles.is_empty() {
        true => sign.key.first().and_then(|key| files::roles_of(None, key)),
        false => None,
    };
    let view = look(&out, &parcel, beside.as_deref(), None)?;
    output.one(&view, &out.display().to_string(), || view.text(&out))?;
    if !view.ok {
        say("not enough yet: the other keys sign with `sentinel policy sign PARCEL --key FILE`");
    }
    Ok(Exit::Ok)
}

fn drafted(sign: &Sign, text: Vec<u8>) -> Result<Parcel, Failure> {
    // Nobody signs what no node would read.
    super::offline::bundle(&sign.file)?;
    let trust_domain = trust_domain(sign)?;
    let issued_at = now();
    let seconds = u64::try_from(issued_at.0 / 1_000).unwrap_or(1).max(1);
    let payload = BundlePayload {
        generation: Generation(sign.generation.unwrap_or(seconds)),
        trust_domain,
        issued_at,
        text,
    };
    Ok(Parcel {
        bundle: Some(SignedBundle {
            payload: wire::codec::encode(&payload),
            signatures: Vec::new(),
        }),
        ..Parcel::default()
    })
}

/// For whom: what was said, else what the role documents say, which agents compare with their own.
fn trust_domain(sign: &Sign) -> Result<String, Failure> {
    let first = sign.key.first().map_or(Path::new(""), |key| key.as_path());
    match (&sign.trust_domain, files::roles_of(sign.roles.as_deref(), first)) {
        (Some(said), _) => Ok(said.clone()),
        (None, Some(roles)) => Ok(keys::newest(&roles, &files::parcel(&roles)?)?.trust_domain),
        (None, None) => Err(files::no_trust_domain(first)),
    }
}

/// Signs what this key may sign.
fn add(parcel: &mut Parcel, sign: &Sign, file: &Path) -> Result<(), Failure> {
    let key = files::key(file)?;
    let public = key.verifying_key().to_bytes();
    let newest = match parcel.roles.is_empty() {
        true => None,
        false => Some(keys::newest(&sign.file, parcel)?),
    };
    let before = parcel
        .roles
        .len()
        .checked_sub(2)
        .and_then(|index| parcel.roles[index].read().ok());
    let holds = |ring: &KeyRing| ring.keys.contains(&public);
    let is_root = newest.iter().chain(&before).any(|roles| holds(&roles.root.ring));
    let is_policy = newest.as_ref().is_none_or(|roles| holds(&roles.policy.ring));
    let mut signed = false;
    if let Some(bundle) = parcel.bundle.as_mut().filter(|_| is_policy) {
        bundle.countersign(&key);
        signed = true;
    }
    if let Some(document) = parcel.roles.last_mut().filter(|_| is_root) {
        *document = document.clone().signed_by(&key);
        signed = true;
    }
    match signed {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Usage,
            format!(
                "key {} of `{}` has no role that could sign anything in `{}`",
                KeyId::of(&public),
                file.display(),
                sign.file.display()
            ),
        )
        .advise("see which keys count: sentinel policy keys list keys/roles.parcel")),
    }
}

/// What a parcel holds, and whether a node would take it.
#[derive(Serialize)]
pub struct Look {
    pub ok: bool,
    /// The digest of the first role document; with `pinned` it was given, else it only says which one is there.
    root_pin: Option<Digest>,
    pinned: bool,
    trust_domain: Option<String>,
    roles_version: Option<u64>,
    generation: Option<Generation>,
    digest: Option<Digest>,
    signed_by: Vec<KeyId>,
    threshold: Option<u8>,
    beacon: Option<u64>,
    problems: Vec<String>,
}

/// `sentinel policy verify FILE`.
pub fn verify(file: &Path, roles: Option<&Path>, pin: Option<Digest>, output: &mut Output) -> Result<Exit, Failure> {
    let view = look(file, &files::parcel(file)?, roles, pin)?;
    output.one(&view, &file.display().to_string(), || view.text(file))?;
    match view.ok {
        true => Ok(Exit::Ok),
        false => Ok(Exit::Failure),
    }
}

/// Holds a parcel against role documents: those of `roles`, else its own.
pub fn look(file: &Path, parcel: &Parcel, roles: Option<&Path>, pin: Option<Digest>) -> Result<Look, Failure> {
    let documents = match roles {
        Some(roles) => files::parcel(roles)?.roles,
        None => parcel.roles.clone(),
    };
    let own_pin = documents.first().map(wire::SignedRoles::pin);
    let payload = parcel
        .bundle
        .as_ref()
        .map(|bundle| files::payload(file, bundle))
        .transpose()?;
    let newest = documents.last().and_then(|document| document.read().ok());
    let domain = newest.as_ref().map(|roles| roles.trust_domain.clone());
    let domain = domain.or_else(|| payload.as_ref().map(|payload| payload.trust_domain.clone()));
    let mut view = Look {
        ok: false,
        root_pin: pin.or(own_pin),
        pinned: pin.is_some(),
        trust_domain: domain.clone(),
        roles_version: None,
        generation: payload.as_ref().map(|payload| payload.generation),
        digest: parcel.bundle.as_ref().map(SignedBundle::digest),
        signed_by: Vec::new(),
        threshold: None,
        beacon: None,
        problems: Vec::new(),
    };
    let domain = domain.unwrap_or_default();
    match view.root_pin {
        None => view
            .problems
            .push("no role document says who may sign: give --roles".to_owned()),
        Some(pin) => match RoleChain::open(&Pin::Document(pin), &documents, &domain) {
            Ok(chain) => view.hold_against(&chain, parcel, &domain),
            Err(error) => view.problems.push(chained(&error)),
        },
    }
    view.ok = view.problems.is_empty();
    Ok(view)
}

impl Look {
    fn hold_against(&mut self, chain: &RoleChain, parcel: &Parcel, domain: &str) {
        let roles = chain.newest();
        self.roles_version = Some(roles.version);
        self.threshold = Some(roles.policy.ring.threshold);
        for name in RoleName::ALL {
            if roles.is_over(name, now()) {
                let until = roles.until(name).map_or_else(String::new, |until| until.to_string());
                self.problems.push(format!("the {} role ended at {until}", name.name()));
            }
        }
        if let Some(bundle) = &parcel.bundle {
            let ring = &roles.policy.ring;
            self.signed_by = bundle
                .signers(ring)
                .into_iter()
                .map(|index| KeyId::of(&ring.keys[index]))
                .collect();
            match bundle.open(ring, domain) {
                Ok(payload) => {
                    if let Err(problems) = policy::Bundle::parse(&payload.text) {
                        let first = problems.first().map_or(String::new(), |first| first.message.clone());
                        self.problems
                            .push(format!("signed, and its text is no bundle: {first}"));
                    }
                }
                Err(error) => self.problems.push(format!("the bundle: {}", chained(&error))),
            }
        }
        if let Some(beacon) = &parcel.beacon {
            match beacon.open(&roles.beacon.ring, domain) {
                Ok(payload) => self.beacon = Some(payload.number),
                Err(error) => self.problems.push(format!("the beacon: {}", chained(&error))),
            }
        }
    }

    /// For people.
    pub fn text(&self, file: &Path) -> String {
        let word = match self.ok {
            true => "ok",
            false => "not acceptable",
        };
        let mut text = format!("{}: {word}\n", file.display());
        let mut line = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _infallible = writeln!(text, "  {name:13} {value}");
            }
        };
        line("trust domain", self.trust_domain.clone());
        line("roles", self.roles_version.map(|version| format!("document {version}")));
        let pinned = match self.pinned {
            true => "as given",
            false => "its own: compare it with the one that the nodes were given",
        };
        line("root pin", self.root_pin.map(|pin| format!("{pin} ({pinned})")));
        line("generation", self.generation.map(|generation| generation.to_string()));
        line("digest", self.digest.map(|digest| digest.to_string()));
        let signers: Vec<String> = self.signed_by.iter().map(ToString::to_string).collect();
        let signed = |threshold| format!("{} of {threshold} needed: {}", signers.len(), signers.join(", "));
        line(
            "signed by",
            self.threshold.filter(|_| self.generation.is_some()).map(signed),
        );
        line("beacon", self.beacon.map(|number| number.to_string()));
        for problem in &self.problems {
            let _infallible = writeln!(text, "  ✕ {problem}");
        }
        text
    }
}

fn chained(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
