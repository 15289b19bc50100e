//! Decides whether a carried packet is the neighbour's, and is seen for the first time.
//!
//! ```text
//! way (1) | tie (4) | counter (8) | lane (1), of a packet that a second neighbour carries | the packet as it is | tag (16)
//! ```
//! The tag is AES-128-GCM over all before it, with nothing encrypted: what is inside is ciphertext already. Keys and tie numbers
//! come from the exporter of the two agents' TLS session, one of each for either direction, so they end with it.
//!
//! Invariant: a counter is used once with its key; a packet whose counter was seen, or is older than [`WINDOW`], is refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Most bytes around a carried packet. A packet of 1,200 bytes needs a local path of 1,258 with IPv4's and UDP's headers.
pub const OVERHEAD_BYTES: usize = HEADER + LANE + TAG;
/// Which of the neighbours of a neighbour it is.
const LANE: usize = 1;
const HEADER: usize = 1 + 4 + 8;
const TAG: usize = 16;
/// What the exporter must yield: a key and a tie number for each direction.
pub(crate) const KEY_BYTES: usize = 2 * (16 + 4);
/// How far behind the newest counter a packet may come: reordering on a local network is a handful.
const WINDOW: u64 = 128;

/// Which way a carried packet goes, and for whom. A build from before the second hop refuses the last two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the sender itself to the hub.
    Up,
    /// From the hub to the receiver itself.
    Down,
    /// To the hub, from a neighbour of the sender.
    UpFor(u8),
    /// From the hub, to a neighbour of the receiver.
    DownFor(u8),
}

impl Way {
    /// The first byte, and the lane if there is one.
    const fn code(self) -> (u8, Option<u8>) {
        match self {
            Self::Up => (1, None),
            Self::Down => (2, None),
            Self::UpFor(lane) => (3, Some(lane)),
            Self::DownFor(lane) => (4, Some(lane)),
        }
    }

    /// Reads the way of a sealed packet, and where what it carries begins.
    fn read(sealed: &[u8]) -> Option<(Self, usize)> {
        let lane = || sealed.get(HEADER).copied();
        Some(match sealed.first()? {
            1 => (Self::Up, HEADER),
            2 => (Self::Down, HEADER),
            3 => (Self::UpFor(lane()?), HEADER + LANE),
            4 => (Self::DownFor(lane()?), HEADER + LANE),
            _ => return None,
        })
    }
}

/// Whether a packet is a carried one, or the agents' own QUIC.
pub(crate) fn is_carried(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| *first < 0x40)
}

/// The tie that a packet claims to belong to.
pub(crate) fn tie_of(packet: &[u8]) -> Option<u32> {
    let bytes = packet.get(1..5)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// Both directions' keys, as one end sees them.
pub(crate) struct Keys {
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
}

impl Keys {
    /// From the exporter's bytes; `dialled`: this end made the session.
    pub(crate) fn new(exported: &[u8; KEY_BYTES], dialled: bool) -> Self {
        let (dialler, answerer) = exported.split_at(KEY_BYTES / 2);
        let (ours, theirs) = match dialled {
            true => (dialler, answerer),
            false => (answerer, dialler),
        };
        Self {
            sealer: Sealer {
                key: key(ours),
                tie: tie(ours),
                next: AtomicU64::new(0),
            },
            opener: Opener {
                key: key(theirs),
                tie: tie(theirs),
                seen: Mutex::default(),
            },
        }
    }
}

fn key(half: &[u8]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_128_GCM, &half[..16]).expect("AES-128 takes 16 bytes");
    LessSafeKey::new(key)
}

fn tie(half: &[u8]) -> u32 {
    u32::from_be_bytes([half[16], half[17], half[18], half[19]])
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Seals what this end sends.
pub(crate) struct Sealer {
    key: LessSafeKey,
    tie: u32,
    next: AtomicU64,
}

impl Sealer {
    /// Writes the sealed packet into `out`, which is emptied first.
    pub(crate) fn seal(&self, way: Way, packet: &[u8], out: &mut Vec<u8>) {
        // 2^64 packets are not sent within one session.
        let counter = self.next.fetch_add(1, Ordering::Relaxed);
        out.clear();
        out.reserve(packet.len() + OVERHEAD_BYTES);
        let (code, lane) = way.code();
        out.push(code);
        out.extend_from_slice(&self.tie.to_be_bytes());
        out.extend_from_slice(&counter.to_be_bytes());
        out.extend(lane);
        out.extend_from_slice(packet);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(out.as_slice()), &mut [])
            .expect("a UDP packet is far below GCM's limit of 64 GiB");
        out.extend_from_slice(tag.as_ref());
    }
}

/// Opens what the other end sent.
pub(crate) struct Opener {
    key: LessSafeKey,
    tie: u32,
    seen: Mutex<Seen>,
}

impl Opener {
    /// The number by which packets for this opener are found.
    pub(crate) fn tie(&self) -> u32 {
        self.tie
    }

    /// What is inside; `None`: it is forged, cut or seen before.
    pub(crate) fn open<'a>(&self, packet: &'a [u8]) -> Option<(Way, &'a [u8])> {
        let body = packet.len().checked_sub(TAG).filter(|body| *body >= HEADER)?;
        let (sealed, tag) = packet.split_at(body);
        let (way, inside) = Way::read(sealed)?;
        let counter = u64::from_be_bytes(sealed[5..HEADER].try_into().ok()?);
        let mut tag: [u8; TAG] = tag.try_into().ok()?;
        self.key
            .open_in_place(nonce(counter), Aad::from(sealed), &mut tag)
            .ok()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_new(counter).then_some((way, &sealed[inside..]))
    }
}

/// The counters seen so far: the newest, and which of the [`WINDOW`] up to it.
#[derive(Debug, Default)]
struct Seen {
    newest: Option<u64>,
    /// Bit `n`: counter `newest - n` was seen.
    bits: u128,
}

impl Seen {
    /// Notes a counter whose packet is authentic; false if it was noted before or may have been.
    fn is_new(&mut self, counter: u64) -> bool {
        let newest = *self.newest.get_or_insert(counter);
        if counter > newest {
            let ahead = counter - newest;
            self.bits = if ahead < WINDOW { self.bits << ahead } else { 0 };
            self.newest = Some(counter);
        }
        let behind = newest.saturating_sub(counter);
        if behind >= WINDOW || self.bits >> behind & 1 == 1 {
            return false;
        }
        self.bits |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> (Keys, Keys) {
        let mut exported = [0; KEY_BYTES];
        (0u8..).zip(&mut exported).for_each(|(number, byte)| *byte = number);
        (Keys::new(&exported, true), Keys::new(&exported, false))
    }

    #[test]
    fn a_packet_passes_once_and_nothing_forged_passes() {
        for (way, overhead) in [
            (Way::Up, 29),
            (Way::Down, 29),
            (Way::UpFor(7), 30),
            (Way::DownFor(255), 30),
        ] {
            check(way, overhead);
        }
    }

    fn check(way: Way, overhead: usize) {
        let (ours, theirs) = both();
        let mut sealed = Vec::new();
        ours.sealer.seal(way, b"packet", &mut sealed);
        assert_eq!(sealed.len(), 6 + overhead);
        assert!(overhead <= OVERHEAD_BYTES && OVERHEAD_BYTES <= 32);
        assert!(is_carried(&sealed) && !is_carried(&[0x40]));
        assert_eq!(tie_of(&sealed), Some(theirs.opener.tie()));
        for index in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[index] ^= 1;
            // The tie number only finds the keys; every other bit is under the tag, and so is this one.
            assert_eq!(theirs.opener.open(&forged), None, "bit of byte {index}");
        }
        for length in 0..sealed.len() {
            assert_eq!(theirs.opener.open(&sealed[..length]), None, "cut to {length}");
        }
        assert_eq!(ours.opener.open(&sealed), None, "sent back to whoever sealed it");
        assert_eq!(theirs.opener.open(&sealed), Some((way, &b"packet"[..])));
        assert_eq!(theirs.opener.open(&sealed), None, "a replay");
    }

    #[test]
    fn order_does_not_count_within_the_window_and_age_does_beyond_it() {
        for (counters, expected) in [
            (&[0, 1, 2][..], &[true, true, true][..]),
            (&[5, 3, 5, 3, 4], &[true, true, false, false, true]),
            (&[0, 127, 0], &[true, true, false]),
            (&[128, 0, 1], &[true, false, true]),
            (&[0, 1_000, 0, 873, 872], &[true, true, false, true, false]),
            (&[u64::MAX, u64::MAX, 0], &[true, false, false]),
        ] {
            let mut seen = Seen::default();
            let found: Vec<bool> = counters.iter().map(|counter| seen.is_new(*counter)).collect();
            assert_eq!(found, expected, "{counters:?}");
        }
    }
}
