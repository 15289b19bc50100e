//! Space and inodes of local file systems.
//!
//! `statvfs` hangs for as long as whoever serves the file system does not answer, and so does it below such a mount. So each is asked in
//! the background, and only kinds that live on this machine are. Mounts are listed and asked every ten seconds; in between the last
//! values stand.
//!
//! Invariants: real disks come before what lives in memory; a mount that does not answer is missing and said to be, and holds up no other.

use std::ffi::CString;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{StatVfs, StatVfsMountFlags};
use wire::{DeviceId, Quantity};

use super::background::Background;
use super::{ProcFile, Round, Sensor, device, lines, words};

/// File systems on a disk.
const ON_DISK: &[&[u8]] = &[
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
];
/// File systems in memory, or on top of others.
const ELSEWHERE: &[&[u8]] = &[b"overlay", b"tmpfs", b"devtmpfs"];
/// Bind mounts and containers can be many; a node has few file systems.
const MOST: usize = 64;
const ASK_EVERY: u64 = 10;

type Values = [Option<i64>; 7];

/// Local file systems.
pub struct FileSystems {
    mounts: ProcFile,
    known: Vec<Mount>,
    left_out: usize,
    asked: Background<CString, Values>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    device: DeviceId,
    path: CString,
}

impl FileSystems {
    /// Opens the list of mounts.
    pub fn open() -> Option<Self> {
        let ask = |path: &CString| rustix::fs::statvfs(path.as_c_str()).map_or([None; 7], |found| values(&found));
        Some(Self {
            mounts: ProcFile::open("/proc/self/mounts")?,
            known: Vec::new(),
            left_out: 0,
            asked: Background::new("file-systems", Arc::new(ask)),
        })
    }
}

impl Sensor for FileSystems {
    fn sample(&mut self, round: &mut Round) {
        if round.number.is_multiple_of(ASK_EVERY) {
            let mut listed = (Vec::new(), 0);
            round.read(&self.mounts, |_, bytes| listed = list(bytes));
            (self.known, self.left_out) = listed;
            self.asked.begin(self.known.iter().map(|mount| mount.path.clone()));
        }
        let now = Instant::now();
        self.asked.look(now);
        for mount in &self.known {
            let values = self.asked.value(&mount.path).unwrap_or([None; 7]);
            for (quantity, value) in QUANTITIES.into_iter().zip(values) {
                round.note(&mount.device, quantity, value);
            }
            if self.asked.stuck_for(&mount.path).is_some() {
                round.limit(format!("{} does not answer, and nothing waits for it", mount.device));
            }
        }
        if self.left_out > 0 {
            let left_out = self.left_out;
            round.limit(format!(
                "more than {MOST} file systems are mounted: {left_out} are not looked at"
            ));
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

/// Local mounts, each path once, those on disks first; and how many there are beyond [`MOST`].
fn list(bytes: &[u8]) -> (Vec<Mount>, usize) {
    let (mut on_disk, mut elsewhere): (Vec<Mount>, Vec<Mount>) = Default::default();
    let mut seen = std::collections::BTreeSet::new();
    for line in lines(bytes) {
        let mut columns = words(line);
        let (Some(_), Some(path), Some(kind)) = (columns.next(), columns.next(), columns.next()) else {
            continue;
        };
        let group = match kind {
            _ if ON_DISK.contains(&kind) => &mut on_disk,
            _ if ELSEWHERE.contains(&kind) => &mut elsewhere,
            _ => continue,
        };
        let path = unescape(path);
        let device = device("fs", &path);
        if let Ok(path) = CString::new(path)
            && seen.insert(device.clone())
        {
            group.push(Mount { device, path });
        }
    }
    on_disk.append(&mut elsewhere);
    let left_out = on_disk.len().saturating_sub(MOST);
    on_disk.truncate(MOST);
    (on_disk, left_out)
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
        assert_eq!(
            names(bytes),
            (
                vec!["fs:/".to_owned(), "fs:/my%20disk".to_owned(), "fs:/dev/shm".to_owned()],
                0
            )
        );
    }

    fn names(bytes: &[u8]) -> (Vec<String>, usize) {
        let (listed, left_out) = list(bytes);
        (
            listed.into_iter().map(|mount| mount.device.to_string()).collect(),
            left_out,
        )
    }

    #[test]
    fn a_data_disk_is_seen_behind_a_hundred_mounts_in_memory_and_what_is_left_out_is_counted() {
        let mut table: String = (0..100)
            .map(|number| format!("tmpfs /run/user/{number} tmpfs rw 0 0\n"))
            .collect();
        table.push_str("/dev/sdb1 /mnt/data ext4 rw 0 0\n");
        let (listed, left_out) = names(table.as_bytes());
        assert_eq!((listed.len(), listed[0].as_str(), left_out), (MOST, "fs:/mnt/data", 37));
    }

    #[test]
    fn two_mounts_never_share_a_name() {
        let table = "/dev/sda1 /mnt/данные ext4 rw 0 0\n/dev/sdb1 /mnt/резерв ext4 rw 0 0\n";
        let (listed, _) = names(table.as_bytes());
        assert_eq!(listed.len(), 2, "{listed:?}");
    }

    #[test]
    fn the_root_of_this_machine_has_a_size() {
        let found = values(&rustix::fs::statvfs("/").expect("there is a root"));
        assert!(found[0] > Some(0) && found[3] <= Some(10_000), "{found:?}");
    }
}
