//! Opens a run's log archive: a zip with `<n>_<job>.txt` at its root and `<job>/<n>_<step>.txt` below.
//!
//! Bounded: entries, size of each and of all together. Names are only read, never used as paths.

use std::io::{Cursor, Read};

/// The most entries read.
const ENTRIES: usize = 4096;
/// The most bytes of one entry, unpacked.
const ENTRY_BYTES: u64 = 256 << 20;
/// The most bytes of all entries, unpacked.
const TOTAL_BYTES: u64 = 1 << 30;

/// One step's (or job's) log.
pub struct Part {
    /// Name in the archive.
    pub name: String,
    /// The step's name, where the name tells it.
    pub step: Option<String>,
    /// Its text.
    pub text: Vec<u8>,
}

/// An archive that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not a zip archive, or a damaged one.
    #[error("cannot read the archive")]
    Damaged(#[source] zip::result::ZipError),
    /// Larger than what is read here.
    #[error("the archive holds more than {ENTRIES} entries or {TOTAL_BYTES} bytes")]
    TooLarge,
}

/// True when the bytes are a zip archive.
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// The logs of the steps that failed: those with an error mark; where no step's log has one, all of the root's job logs.
pub fn failed_parts(bytes: &[u8]) -> Result<Vec<Part>, ArchiveError> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(ArchiveError::Damaged)?;
    if archive.len() > ENTRIES {
        return Err(ArchiveError::TooLarge);
    }
    let mut total = 0;
    let mut steps = Vec::new();
    let mut jobs = Vec::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(ArchiveError::Damaged)?;
        let name = entry.name().to_owned();
        if !entry.is_file() || !name.ends_with(".txt") {
            continue;
        }
        let mut text = Vec::new();
        let read = entry.by_ref().take(ENTRY_BYTES).read_to_end(&mut text);
        read.map_err(|cause| ArchiveError::Damaged(zip::result::ZipError::Io(cause)))?;
        total += text.len() as u64;
        if total > TOTAL_BYTES {
            return Err(ArchiveError::TooLarge);
        }
        let failed = memchr::memmem::find(&text, b"##[error]").is_some();
        let step = name.split_once('/').map(|(_, file)| step_name(file));
        match step {
            Some(step) if failed => steps.push(Part {
                name,
                step: Some(step),
                text,
            }),
            Some(_) => {}
            None => jobs.push(Part { name, step: None, text }),
        }
    }
    if steps.is_empty() {
        let red = |part: &Part| memchr::memmem::find(&part.text, b"##[error]").is_some();
        let any = jobs.iter().any(red);
        return Ok(jobs.into_iter().filter(|part| !any || red(part)).collect());
    }
    Ok(steps)
}

/// `5_Run ruff check.txt` is step 5, `Run ruff check`.
fn step_name(file: &str) -> String {
    let name = file.strip_suffix(".txt").unwrap_or(file);
    match name.split_once('_') {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest.to_owned(),
        _ => name.to_owned(),
    }
}
