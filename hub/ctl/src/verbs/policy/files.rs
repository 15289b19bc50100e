//! Bundles, parcels and keys on the disk of whoever types.
//!
//! Invariant: a key file is written once, 0600, and never replaced; one that others could read is refused.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use wire::bundle::MAX_BUNDLE_BYTES;
use wire::parcel::MAX_PARCEL_BYTES;
use wire::{Parcel, SignedBundle};

use crate::failure::{Exit, Failure};

/// Stands for standard input among the names of files.
pub const STANDARD_INPUT: &str = "-";

/// A file's bytes, or those of standard input; at most `limit` of them.
pub fn read(file: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let shown = file.display();
    let cannot = |cause| Failure::new(Exit::Usage, format!("cannot read `{shown}`")).because(cause);
    let mut bytes = Vec::new();
    let opened: Box<dyn std::io::Read> = match file == Path::new(STANDARD_INPUT) {
        true => Box::new(std::io::stdin()),
        false => Box::new(fs::File::open(file).map_err(cannot)?),
    };
    opened.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    match bytes.len() > limit {
        true => Err(Failure::new(
            Exit::Usage,
            format!("`{shown}` has more than {limit} bytes"),
        )),
        false => Ok(bytes),
    }
}

/// The role documents that a key belongs to: the file that was named, else `roles.parcel` beside the key, as `policy init` leaves it.
pub fn roles_of(named: Option<&Path>, key: &Path) -> Option<PathBuf> {
    match named {
        Some(named) => Some(named.to_owned()),
        None => Some(key.with_file_name("roles.parcel")).filter(|beside| beside.is_file()),
    }
}

/// Nothing says for which trust domain something is to be signed.
pub fn no_trust_domain(key: &Path) -> Failure {
    let beside = key.with_file_name("roles.parcel");
    Failure::new(
        Exit::Usage,
        format!("the trust domain is not known: `{}` is not there", beside.display()),
    )
    .advise("give --roles FILE with the role documents of your hub, or --trust-domain NAME")
}

/// What a file holds that people give as a bundle.
pub enum Given {
    /// A text, which nobody has signed.
    Text(Vec<u8>),
    /// A parcel.
    Parcel(Box<Parcel>),
}

/// The files that a person names: of a folder all `*.yaml` and `*.yml` in it and below, in the order of their names.
pub fn files_of(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in named {
        match path.is_dir() {
            true => {
                let before = files.len();
                files_below(path, &mut files)?;
                if files.len() == before {
                    let happened = format!("the folder `{}` holds no file *.yaml or *.yml", path.display());
                    return Err(Failure::new(Exit::Usage, happened));
                }
            }
            false => files.push(path.clone()),
        }
    }
    Ok(files)
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let cannot = |cause| Failure::new(Exit::Usage, format!("cannot read `{}`", folder.display())).because(cause);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        // Where a link leads round in a circle nobody gets to the end.
        found.push((entry.path(), entry.file_type().map_err(cannot)?.is_dir()));
    }
    found.sort();
    for (path, is_folder) in found {
        let is_cases = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        match is_folder {
            true => files_below(&path, files)?,
            false if is_cases => files.push(path),
            false => {}
        }
    }
    Ok(())
}

/// Reads a bundle's text or a parcel.
pub fn given(file: &Path) -> Result<Given, Failure> {
    let bytes = read(file, MAX_PARCEL_BYTES)?;
    if Parcel::is_one(&bytes) {
        return parcel_of(file, &bytes).map(|parcel| Given::Parcel(Box::new(parcel)));
    }
    match bytes.len() > MAX_BUNDLE_BYTES {
        true => Err(Failure::new(
            Exit::Usage,
            format!(
                "`{}` has {} bytes; a bundle has at most {MAX_BUNDLE_BYTES}",
                file.display(),
                bytes.len()
            ),
        )),
        false => Ok(Given::Text(bytes)),
    }
}

/// A bundle's text, from a file of its own or out of a parcel, whoever signed it.
pub fn text(file: &Path) -> Result<Vec<u8>, Failure> {
    match given(file)? {
        Given::Text(text) => Ok(text),
        Given::Parcel(parcel) => Ok(payload(file, bundle_in(file, &parcel)?)?.text),
    }
}

/// The bundle of a parcel.
pub fn bundle_in<'a>(file: &Path, parcel: &'a Parcel) -> Result<&'a SignedBundle, Failure> {
    let bundle = parcel.bundle.as_ref();
    bundle.ok_or_else(|| Failure::new(Exit::Usage, format!("the parcel `{}` holds no bundle", file.display())))
}

/// What a bundle of a parcel says, whoever signed it.
pub fn payload(file: &Path, signed: &SignedBundle) -> Result<wire::bundle::BundlePayload, Failure> {
    signed.peek().map_err(|cause| {
        Failure::new(
            Exit::Usage,
            format!("the bundle in `{}` cannot be read", file.display()),
        )
        .because(cause)
    })
}

/// Reads a parcel.
pub fn parcel(file: &Path) -> Result<Parcel, Failure> {
    parcel_of(file, &read(file, MAX_PARCEL_BYTES)?)
}

fn parcel_of(file: &Path, bytes: &[u8]) -> Result<Parcel, Failure> {
    Parcel::decode(bytes)
        .map_err(|cause| Failure::new(Exit::Usage, format!("`{}` cannot be used", file.display())).because(cause))
}

/// Writes a parcel in place of what was there: whole or not at all.
pub fn write_parcel(file: &Path, parcel: &Parcel) -> Result<(), Failure> {
    write_over(file, &parcel.encode())
}

/// Writes bytes in place of what was there: whole or not at all.
pub fn write_over(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    wire_files::replace_with(file, bytes, wire_files::PUBLIC).map_err(|cause| cannot_write(file, cause))
}

/// Writes a file that must not be there yet.
pub fn write_new(file: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    wire_files::create(file, bytes, mode).map_err(|cause| cannot_write(file, cause))
}

fn cannot_write(file: &Path, cause: std::io::Error) -> Failure {
    let shown = file.display();
    match cause.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(Exit::Conflict, format!("`{shown}` is there already"))
            .advise("give another name, or move it away: nothing here replaces a key or a bundle"),
        _ => Failure::new(Exit::Failure, format!("cannot write `{shown}`")).because(cause),
    }
}

/// Makes a folder that only its owner can enter; one that is there may be anything, and stays as it is.
pub fn private_folder(folder: &Path) -> Result<(), Failure> {
    wire_files::make_folder(folder).map_err(|cause| cannot_write(folder, cause))
}

/// Draws a key. The caller writes it.
pub fn new_key() -> Result<SigningKey, Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|cause| Failure::new(Exit::Failure, "the system gives no random bytes").because(cause))?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Reads a key file: 32 bytes, the same as a hub's `pki/policy.key`.
pub fn key(file: &Path) -> Result<SigningKey, Failure> {
    let shown = file.display();
    let bytes = read(file, 1_024)?;
    let mode = fs::metadata(file).map_or(0, |metadata| metadata.mode());
    if mode & 0o077 != 0 {
        let happened = format!("key file `{shown}` can be used by others (mode {:04o})", mode & 0o7777);
        return Err(Failure::new(Exit::Usage, happened).advise(format!("chmod 600 {shown}")));
    }
    match <[u8; 32]>::try_from(bytes) {
        Ok(seed) => Ok(SigningKey::from_bytes(&seed)),
        Err(bytes) => Err(Failure::new(
            Exit::Usage,
            format!(
                "`{shown}` has {} bytes; a key has 32: `sentinel policy init` makes them",
                bytes.len()
            ),
        )),
    }
}
