//! How rows of the journal look: keys that sort, values that carry their own checksum.
//!
//! Key: epoch and first seq, big-endian. Value: eight bytes of BLAKE3 over (table, key, payload), then the payload. The payload of an
//! entries row is a *segment*: the entries of one append, each as `u32` length and bytes. Bytes from the disk are never trusted.
//!
//! Invariant: `open(table, key, &seal(table, key, p)) == Some(p)`; with any bit changed, or under another key, it is `None`.

use wire::{Epoch, RawEntry, Seq};

/// Longest payload of one row: a group's entries stay far below it.
const CHECKSUM_BYTES: usize = 8;

/// The key of a row: epoch and first seq, in the order of their numbers.
pub fn key(epoch: Epoch, first: Seq) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&epoch.0.to_be_bytes());
    key[8..].copy_from_slice(&first.0.to_be_bytes());
    key
}

/// What a key names; `None` for bytes that are no key.
pub fn unkey(key: &[u8]) -> Option<(Epoch, Seq)> {
    let epoch = u64::from_be_bytes(key.get(..8)?.try_into().ok()?);
    let first = u64::from_be_bytes(key.get(8..)?.try_into().ok()?);
    Some((Epoch(epoch), Seq(first)))
}

/// Puts the checksum before a payload.
pub fn seal(table: &str, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(CHECKSUM_BYTES + payload.len());
    out.extend_from_slice(&checksum(table, key, payload));
    out.extend_from_slice(payload);
    out
}

/// The payload, if its checksum is right.
pub fn open<'a>(table: &str, key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (found, payload) = value.split_at_checked(CHECKSUM_BYTES)?;
    (found == checksum(table, key, payload)).then_some(payload)
}

fn checksum(table: &str, key: &[u8], payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(table.as_bytes());
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(payload);
    let mut out = [0; CHECKSUM_BYTES];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    out
}

/// The payload of an entries row.
pub fn pack(entries: &[RawEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.iter().map(|entry| 4 + entry.bytes.len()).sum());
    for entry in entries {
        out.extend_from_slice(&(entry.bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&entry.bytes);
    }
    out
}

/// The entries of a row whose first one is `first`; `None` if they are not that and consecutive.
pub fn unpack(first: Seq, mut payload: &[u8]) -> Option<Vec<RawEntry>> {
    let mut entries = Vec::new();
    let mut expected = first;
    while !payload.is_empty() {
        let (header, rest) = payload.split_at_checked(4)?;
        let length = u32::from_le_bytes(header.try_into().ok()?) as usize;
        let (bytes, rest) = rest.split_at_checked(length)?;
        let entry = RawEntry::from_bytes(bytes.to_vec()).ok()?;
        if entry.seq != expected {
            return None;
        }
        expected = expected.next();
        entries.push(entry);
        payload = rest;
    }
    (!entries.is_empty()).then_some(entries)
}

/// How many entries a row holds, without reading them; `None` if it is broken.
pub fn count(mut payload: &[u8]) -> Option<u64> {
    let mut count = 0;
    while !payload.is_empty() {
        let (header, rest) = payload.split_at_checked(4)?;
        let length = u32::from_le_bytes(header.try_into().ok()?) as usize;
        payload = rest.split_at_checked(length)?.1;
        count += 1;
    }
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_sort_as_their_numbers(a in any::<(u64, u64)>(), b in any::<(u64, u64)>()) {
            let sealed = |(epoch, seq): (u64, u64)| key(Epoch(epoch), Seq(seq));
            prop_assert_eq!(sealed(a).cmp(&sealed(b)), a.cmp(&b));
            prop_assert_eq!(unkey(&sealed(a)), Some((Epoch(a.0), Seq(a.1))));
        }

        #[test]
        fn a_changed_bit_or_another_key_is_noticed(payload in vec(any::<u8>(), 0..200), bit in any::<usize>()) {
            let name = key(Epoch(1), Seq(7));
            let sealed = seal("entries", &name, &payload);
            prop_assert_eq!(open("entries", &name, &sealed), Some(payload.as_slice()));
            prop_assert_eq!(open("telemetry", &name, &sealed), None);
            prop_assert_eq!(open("entries", &key(Epoch(1), Seq(8)), &sealed), None);
            let mut bad = sealed.clone();
            let place = bit % (bad.len() * 8);
            bad[place / 8] ^= 1 << (place % 8);
            prop_assert_eq!(open("entries", &name, &bad), None);
        }

        #[test]
        fn no_bytes_panic_unpack(payload in vec(any::<u8>(), 0..300), first in any::<u64>()) {
            let _ = unpack(Seq(first), &payload);
            let _ = count(&payload);
        }
    }
}
