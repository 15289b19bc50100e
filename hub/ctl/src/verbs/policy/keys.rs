//! `init` and `keys`: the starter bundle, the keys of the three roles, and the documents that name them.
//!
//! Invariant: a role document that is written here follows the one before it; keys are drawn here and leave only as files, 0600.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use serde::Serialize;
use wire::bundle::KeyRing;
use wire::ids::KeyId;
use wire::roles::{Role, Roles};
use wire::{Parcel, RoleName, SignedRoles, Wall};

use super::files;
use crate::args::{Init, Rotate};
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row, say};
use crate::rows::UNKNOWN;
use crate::table::Cell;

/// Cases for the bundle to begin with.
pub const STARTER_CASES: &str = include_str!("starter-cases.yaml");

#[derive(Serialize)]
struct Made {
    bundle: PathBuf,
    cases: PathBuf,
    keys: Vec<PathBuf>,
    roles: PathBuf,
    root_pin: String,
}

/// `sentinel policy init`.
pub fn init(init: &Init, output: &mut Output) -> Result<Exit, Failure> {
    enough(init.signers, init.threshold)?;
    let cases = init.bundle.with_extension("cases.yaml");
    let roles = init.keys.join("roles.parcel");
    for path in [&init.bundle, &cases, &roles] {
        if path.exists() {
            return Err(
                Failure::new(Exit::Conflict, format!("`{}` is there already", path.display()))
                    .advise("give another name, or move it away: nothing here replaces a key or a bundle"),
            );
        }
    }
    files::private_folder(&init.keys)?;
    let root = NewKeys::make(&init.keys, "root", init.signers)?;
    let policy = NewKeys::make(&init.keys, "policy", init.signers)?;
    let beacon = NewKeys::make(&init.keys, "beacon", 1)?;
    let first = Roles {
        version: 1,
        trust_domain: init.trust_domain.clone(),
        issued_at: now(),
        root: root.role(init.threshold, None),
        policy: policy.role(init.threshold, None),
        beacon: beacon.role(1, None),
    };
    let document = root.sign(SignedRoles::unsigned(&first));
    let pin = document.pin();
    let parcel = Parcel {
        roles: vec![document],
        ..Parcel::default()
    };
    files::write_new(&roles, &parcel.encode(), 0o644)?;
    files::write_new(&init.bundle, policy::STARTER_BUNDLE.as_bytes(), 0o644)?;
    files::write_new(&cases, STARTER_CASES.as_bytes(), 0o644)?;
    let made = Made {
        bundle: init.bundle.clone(),
        cases,
        keys: [root.files, policy.files, beacon.files].concat(),
        roles,
        root_pin: pin.to_string(),
    };
    output.one(&made, &made.bundle.display().to_string(), || made.text())?;
    say("next: sentinel policy check, then test, then sign; keep the root keys off every machine that is on a network");
    Ok(Exit::Ok)
}

impl Made {
    fn text(&self) -> String {
        let mut text = format!(
            "bundle    {}\ncases     {}\n",
            self.bundle.display(),
            self.cases.display()
        );
        for key in &self.keys {
            let _infallible = writeln!(text, "key       {}", key.display());
        }
        let _infallible = writeln!(text, "roles     {}\nroot pin  {}", self.roles.display(), self.root_pin);
        text
    }
}

fn enough(signers: u8, threshold: u8) -> Result<(), Failure> {
    match threshold > signers {
        true => Err(Failure::new(
            Exit::Usage,
            format!("--threshold {threshold} needs at least as many keys, and --signers is {signers}"),
        )),
        false => Ok(()),
    }
}

/// Now, by this machine's clock; for people who read the document.
pub fn now() -> Wall {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Wall(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

/// Keys that were just drawn and written.
struct NewKeys {
    keys: Vec<SigningKey>,
    files: Vec<PathBuf>,
}

impl NewKeys {
    fn make(folder: &Path, name: &str, count: u8) -> Result<Self, Failure> {
        let mut made = Self {
            keys: Vec::new(),
            files: Vec::new(),
        };
        for number in 1..=count {
            let file = match (name, count) {
                ("beacon", 1) => folder.join("beacon.key"),
                _ => folder.join(format!("{name}-{number}.key")),
            };
            let key = files::new_key()?;
            files::write_new(&file, &key.to_bytes(), 0o600)?;
            made.keys.push(key);
            made.files.push(file);
        }
        Ok(made)
    }

    fn role(&self, threshold: u8, until: Option<Wall>) -> Role {
        let keys = self.keys.iter().map(|key| key.verifying_key().to_bytes()).collect();
        Role {
            ring: KeyRing { keys, threshold },
            until,
        }
    }

    fn sign(&self, document: SignedRoles) -> SignedRoles {
        self.keys.iter().fold(document, SignedRoles::signed_by)
    }
}

/// One role of the newest document.
#[derive(Serialize)]
struct RoleRow {
    role: &'static str,
    version: u64,
    keys: Vec<KeyId>,
    threshold: u8,
    until: Option<Wall>,
}

impl Row for RoleRow {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["ROLE", "DOCUMENT", "MUST SIGN", "UNTIL", "KEYS"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        vec![
            self.role.into(),
            self.version.to_string().into(),
            format!("{} of {}", self.threshold, self.keys.len()).into(),
            self.until
                .map_or_else(|| UNKNOWN.to_owned(), |until| until.to_string())
                .into(),
            keys.join(", ").into(),
        ]
    }

    fn name(&self) -> String {
        self.role.to_owned()
    }
}

/// `sentinel policy keys list FILE`.
pub fn list(file: &Path, output: &mut Output) -> Result<Exit, Failure> {
    let roles = newest(file, &files::parcel(file)?)?;
    let row = |name: RoleName| {
        let role = roles.role(name);
        RoleRow {
            role: name.name(),
            version: roles.version,
            keys: role.ring.keys.iter().map(KeyId::of).collect(),
            threshold: role.ring.threshold,
            until: roles.until(name),
        }
    };
    output.list(&RoleName::ALL.map(row))?;
    Ok(Exit::Ok)
}

/// The newest role document of a parcel, whoever signed it.
pub fn newest(file: &Path, parcel: &Parcel) -> Result<Roles, Failure> {
    let shown = file.display();
    let last = parcel.roles.last();
    let last = last.ok_or_else(|| Failure::new(Exit::Usage, format!("the parcel `{shown}` holds no role document")))?;
    last.read().map_err(|cause| {
        Failure::new(Exit::Usage, format!("the role document in `{shown}` cannot be used")).because(cause)
    })
}

/// How many keys a role gets, and how many must sign: as many as it has, where nothing else is said.
fn as_many(rotate: &Rotate, present: &KeyRing) -> Result<(u8, u8), Failure> {
    let keys = u8::try_from(present.keys.len()).unwrap_or(u8::MAX);
    let signers = rotate.signers.unwrap_or(keys);
    let threshold = rotate.threshold.unwrap_or(present.threshold);
    if rotate.threshold.is_none() && threshold > signers {
        return Err(Failure::new(
            Exit::Usage,
            format!("{threshold} keys must sign today, and --signers {signers} makes fewer"),
        )
        .advise("say how many must sign from now on: --threshold N"));
    }
    enough(signers, threshold)?;
    Ok((signers, threshold))
}

/// `sentinel policy keys rotate ROLE`.
pub fn rotate(rotate: &Rotate, output: &mut Output) -> Result<Exit, Failure> {
    let mut parcel = files::parcel(&rotate.roles)?;
    let present = newest(&rotate.roles, &parcel)?;
    let role = RoleName::from(rotate.role);
    let (signers, threshold) = as_many(rotate, &present.role(role).ring)?;
    let old: Vec<SigningKey> = rotate
        .root_key
        .iter()
        .map(|file| files::key(file))
        .collect::<Result<_, _>>()?;
    for (key, file) in old.iter().zip(&rotate.root_key) {
        if !present.root.ring.keys.contains(key.verifying_key().as_bytes()) {
            let happened = format!("`{}` is no root key of document {}", file.display(), present.version);
            return Err(Failure::new(Exit::Usage, happened).advise(format!(
                "see which keys count: sentinel policy keys list {}",
                rotate.roles.display()
            )));
        }
    }
    files::private_folder(&rotate.keys)?;
    let version = present.version.saturating_add(1);
    let new = NewKeys::make(&rotate.keys, &format!("{}-v{version}", role.name()), signers)?;
    let mut next = Roles {
        version,
        issued_at: now(),
        ..present.clone()
    };
    let changed = new.role(threshold, rotate.until);
    match role {
        RoleName::Root => next.root = changed,
        RoleName::Policy => next.policy = changed,
        RoleName::Beacon => next.beacon = changed,
    }
    let mut document = old.iter().fold(SignedRoles::unsigned(&next), SignedRoles::signed_by);
    if role == RoleName::Root {
        document = new.sign(document);
    }
    parcel.roles.push(document);
    files::write_parcel(&rotate.roles, &parcel)?;
    for file in &new.files {
        say(&format!("made {}", file.display()));
    }
    let missing = present
        .root
        .ring
        .threshold
        .saturating_sub(u8::try_from(old.len()).unwrap_or(u8::MAX));
    match missing {
        0 => say(&format!("next: sentinel policy publish {}", rotate.roles.display())),
        more => say(&format!(
            "{more} more root keys must sign: sentinel policy sign {} --key FILE",
            rotate.roles.display()
        )),
    }
    list(&rotate.roles, output)
}
