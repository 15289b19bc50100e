//! The small file pair that must survive even the loss of the journal: epoch, marks and floors, and where the clock stood.
//!
//! Two files of fixed size are written in turn, each with a counter and a checksum; the valid one with the higher counter counts.
//! A write that is cut off therefore costs the newest floor at most, never both. Writing needs no new disk space.
//!
//! Invariant: after a crash at any point, [`FloorFile::open`] yields the last value that [`FloorFile::write`] returned for, or the one
//! that was being written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use edge_agent_core::Floor;
use serde::{Deserialize, Serialize};
use wire::codec;

use crate::clock::SavedClock;

const MAGIC: &[u8; 8] = b"SNTLFLR1";
/// One disk sector: written whole or not at all on most disks, and checked where it is not.
const FILE_BYTES: usize = 512;

/// What the pair holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// The core's floors.
    pub floor: Floor,
    /// Where the clock stood.
    pub clock: Option<SavedClock>,
    /// What the encoding of the floor leaves out: its `roles` and `policy_since`. Absent in what was written before there were any.
    roles: (u64, u64),
    /// The same, its `held`; absent in what was written before that was kept here.
    held: bool,
}

impl Sidecar {
    /// Floors and clock.
    pub fn new(floor: Floor, clock: Option<SavedClock>) -> Self {
        let roles = (floor.roles, floor.policy_since);
        Self {
            floor,
            clock,
            roles,
            held: floor.held,
        }
    }

    fn decode(body: &[u8]) -> Option<Self> {
        // What each layout of before lacks at its end: nobody holds the node, and there is no role document.
        let lacks: [&[u8]; 3] = [&[], &[0], &[0, 0, 0]];
        let read = |lacks: &&[u8]| codec::decode(&[body, lacks].concat()).ok();
        let mut value: Self = lacks.iter().find_map(read)?;
        (value.floor.roles, value.floor.policy_since) = value.roles;
        value.floor.held = value.held;
        Some(value)
    }
}

/// The pair, open.
#[derive(Debug)]
pub struct FloorFile {
    files: [File; 2],
    counter: u64,
}

impl FloorFile {
    /// Opens or creates the pair in `folder` and returns the newest valid value; `None` if there never was one.
    pub fn open(folder: &Path) -> io::Result<(Self, Option<Sidecar>)> {
        let paths = [folder.join("floor.a"), folder.join("floor.b")];
        let read = paths.each_ref().map(|path| read(path));
        let newest = read.into_iter().flatten().max_by_key(|(counter, _)| *counter);
        let files = [create(&paths[0])?, create(&paths[1])?];
        File::open(folder)?.sync_all()?;
        let (counter, value) = newest.map_or((0, None), |(counter, value)| (counter, Some(value)));
        Ok((Self { files, counter }, value))
    }

    /// Makes a value durable. On an error the former value still stands.
    pub fn write(&mut self, value: &Sidecar) -> io::Result<()> {
        let counter = self.counter + 1;
        let body = codec::encode(value);
        let mut out = Vec::with_capacity(FILE_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&counter.to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(&body);
        out.extend_from_slice(&blake3::hash(&out).as_bytes()[..8]);
        if out.len() > FILE_BYTES {
            return Err(io::Error::other(format!(
                "the floor needs {} bytes, {FILE_BYTES} are there",
                out.len()
            )));
        }
        out.resize(FILE_BYTES, 0);
        // The older of the two: the one that does not hold the present counter.
        let file = &self.files[usize::from(counter.is_multiple_of(2))];
        file.write_all_at(&out, 0)?;
        file.sync_data()?;
        self.counter = counter;
        Ok(())
    }
}

fn create(path: &PathBuf) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.len() < FILE_BYTES as u64 {
        // Real blocks now, so that later writes need no space.
        file.write_all_at(&[0; FILE_BYTES], 0)?;
        file.sync_all()?;
    }
    Ok(file)
}

fn read(path: &Path) -> Option<(u64, Sidecar)> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES as u64).read_to_end(&mut bytes))
        .ok()?;
    let rest = bytes.strip_prefix(MAGIC)?;
    let counter = u64::from_le_bytes(rest.get(..8)?.try_into().ok()?);
    let length = u32::from_le_bytes(rest.get(8..12)?.try_into().ok()?) as usize;
    let body = rest.get(12..12usize.checked_add(length)?)?;
    let checksum = bytes.get(20 + length..28 + length)?;
    if blake3::hash(&bytes[..20 + length]).as_bytes()[..8] != *checksum {
        return None;
    }
    Some((counter, Sidecar::decode(body)?))
}

#[cfg(test)]
mod tests {
    use wire::{Epoch, Seq};

    use super::*;

    fn value(last: u64) -> Sidecar {
        let floor = Floor {
            epoch: Epoch(3),
            last: Seq(last),
            roles: 2,
            policy_since: 1,
            ..Floor::default()
        };
        Sidecar::new(floor, None)
    }

    #[test]
    fn floors_of_the_layouts_before_are_read() {
        let mut held = value(5);
        (held.held, held.floor.held) = (true, true);
        let body = codec::encode(&held);
        assert_eq!(Sidecar::decode(&body), Some(held));
        let without_hold = Sidecar::decode(&body[..body.len() - 1]).expect("the layout before holds");
        assert_eq!(without_hold, value(5));
        let old = Sidecar::decode(&body[..body.len() - 3]).expect("the layout before role documents");
        assert_eq!((old.floor.last, old.floor.roles, old.floor.held), (Seq(5), 0, false));
    }

    #[test]
    fn the_newest_valid_value_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut file, found) = FloorFile::open(folder.path()).expect("opened");
        assert_eq!(found, None);
        for last in 1..=5 {
            file.write(&value(last)).expect("written");
            let (reopened, found) = FloorFile::open(folder.path()).expect("opened");
            assert_eq!(found, Some(value(last)));
            file = reopened;
        }
    }

    #[test]
    fn a_torn_write_costs_the_newest_value_at_most() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut file, _) = FloorFile::open(folder.path()).expect("opened");
        file.write(&value(1)).expect("written");
        file.write(&value(2)).expect("written");
        for name in ["floor.a", "floor.b"] {
            let path = folder.path().join(name);
            let whole = fs::read(&path).expect("there");
            for cut in [0, 1, 7, 20, 33, 60] {
                let mut torn = whole.clone();
                torn[cut..].fill(0xa5);
                fs::write(&path, &torn).expect("written");
                let (_, found) = FloorFile::open(folder.path()).expect("opened");
                let found = found.expect("the other one is whole").floor.last;
                assert!([Seq(1), Seq(2)].contains(&found), "{found}");
            }
            fs::write(&path, &whole).expect("written");
        }
    }
}
