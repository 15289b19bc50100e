//! Space and inodes of local file systems.
//!
//! `statvfs` on a network file system whose server is away hangs for ever, so only kinds that live on this machine are asked.
//! Mounts are listed once a minute and asked every ten seconds; in between the last values stand.

use std::ffi::CString;

use rustix::fs::{StatVfs, StatVfsMountFlags};
use wire::{DeviceId, Quantity};

use super::{ProcFile, Round, Sensor, device, lines, words};

const KINDS: &[&[u8]] = &[
    b"ext2",
    b"ext3",
    b"ext4",
    b"xfs",
    b"btrfs",
    b"f2fs",
    b"vfat",
    b"exfat",
    b"zfs",
    b"bcachefs",
    b"overlay",
    b"tmpfs",
    b"devtmpfs",
];
/// Bind mounts can be many; a node has few file systems.
const MOST: usize = 32;
const LIST_EVERY: u64 = 60;
const ASK_EVERY: u64 = 10;

/// Local file systems.
pub struct FileSystems {
    mounts: ProcFile,
    known: Vec<Mount>,
}

struct Mount {
    device: DeviceId,
    path: CString,
    values: [Option<i64>; 7],
}

impl FileSystems {
    /// Opens the list of mounts.
    pub fn open() -> Option<Self> {
        Some(Self {
            mounts: ProcFile::open("/proc/self/mounts")?,
            known: Vec::new(),
        })
    }
}

impl Sensor for FileSystems {
    fn sample(&mut self, round: &mut Round) {
        if round.number.is_multiple_of(LIST_EVERY) {
            let mut listed = Vec::new();
            round.read(&self.mounts, |_, bytes| listed = list(bytes));
            self.known = listed;
        }
        for mount in &mut self.known {
            if round.number.is_multiple_of(ASK_EVERY) {
                mount.values = rustix::fs::statvfs(mount.path.as_c_str()).map_or([None; 7], |found| values(&found));
            }
            for (quantity, value) in QUANTITIES.into_iter().zip(mount.values) {
                round.note(&mount.device, quantity, value);
            }
        }
    }
}

const QUANTITIES: [Quantity; 7] = [
    Quantity::FsTotal,
    Quantity::FsFree,
    Quantity::FsAvailable,
    Quantity::FsUsedShare,
    Quantity::FsInodesFree,
    Quantity::FsInodesUsedShare,
    Quantity::FsReadOnly,
];

fn values(found: &StatVfs) -> [Option<i64>; 7] {
    let bytes = |blocks: u64| i64::try_from(u128::from(blocks) * u128::from(found.f_frsize)).ok();
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    // As df does: what an ordinary user could use is all there is.
    let usable = used.saturating_add(found.f_bavail);
    [
        bytes(found.f_blocks),
        bytes(found.f_bfree),
        bytes(found.f_bavail),
        share(used, usable),
        i64::try_from(found.f_ffree).ok(),
        share(found.f_files.saturating_sub(found.f_ffree), found.f_files),
        Some(i64::from(found.f_flag.contains(StatVfsMountFlags::RDONLY))),
    ]
}

fn share(part: u64, whole: u64) -> Option<i64> {
    (whole > 0).then(|| (u128::from(part) * 10_000 / u128::from(whole)) as i64)
}

/// Local mounts, each path once; a later mount hides an earlier one.
fn list(bytes: &[u8]) -> Vec<Mount> {
    let mut found: Vec<Mount> = Vec::new();
    for line in lines(bytes) {
        let mut columns = words(line);
        let (Some(_), Some(path), Some(kind)) = (columns.next(), columns.next(), columns.next()) else {
            continue;
        };
        if !KINDS.contains(&kind) || found.len() == MOST {
            continue;
        }
        let path = unescape(path);
        let device = device("fs", &path);
        if found.iter().any(|mount| mount.device == device) {
            continue;
        }
        if let Ok(path) = CString::new(path) {
            found.push(Mount {
                device,
                path,
                values: [None; 7],
            });
        }
    }
    found
}

/// Spaces and the like are written as three octal digits after a backslash.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match (first, after.first_chunk::<3>()) {
            (b'\\', Some(digits)) if digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) => {
                let value = digits
                    .iter()
                    .fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                out.push(value as u8);
                rest = &after[3..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_mounts_are_listed_each_once() {
        let bytes = b"proc /proc proc rw 0 0\n/dev/vda / ext4 rw 0 0\nserver:/x /mnt nfs4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n/dev/vdb /my\\040disk xfs rw 0 0\n";
        let listed: Vec<String> = list(bytes).into_iter().map(|mount| mount.device.to_string()).collect();
        assert_eq!(listed, ["fs:/", "fs:/dev/shm", "fs:/my_disk"]);
    }

    #[test]
    fn the_root_of_this_machine_has_a_size() {
        let found = values(&rustix::fs::statvfs("/").expect("there is a root"));
        assert!(found[0] > Some(0) && found[3] <= Some(10_000), "{found:?}");
    }
}
