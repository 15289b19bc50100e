//! Names and counters that identify things, each with one spelling.
//!
//! Invariant: `text.parse::<T>()?.to_string() == text` for every id that parses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// A text that is not a valid id: which id was expected, the text, and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {rule}")]
pub struct IdError {
    /// Which kind of id was expected, for example `node name`.
    pub what: &'static str,
    /// The text that was given.
    pub text: String,
    /// What a valid one looks like.
    pub rule: &'static str,
}

/// A node's name, which is also its identity: the last part of `spiffe://<trust-domain>/agent/<name>`.
///
/// A DNS label (RFC 1123): 1 to 63 of `a-z`, `0-9` and `-`, with no `-` at either end. It holds no dot, so that
/// [`DecisionId`] can be split at dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct AgentId(String);

impl AgentId {
    /// Checks the grammar and returns the name, or an [`IdError`] that says what a valid name looks like.
    pub fn new(name: impl Into<String>) -> Result<Self, IdError> {
        let name = name.into();
        let valid = (1..=63).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if valid {
            Ok(Self(name))
        } else {
            Err(IdError {
                what: "node name",
                text: name,
                rule: "1 to 63 of a-z, 0-9 and -, not starting or ending with -",
            })
        }
    }

    /// Owner of the hub's own journal: `@hub`, outside the grammar of node names, so that no node can be called that.
    pub fn hub() -> Self {
        Self(HUB.to_owned())
    }

    /// A journal's owner: a node's name, or `@hub`. For what our own store and answers hold; a name that somebody chooses goes
    /// through [`AgentId::new`].
    pub fn owner(name: impl Into<String>) -> Result<Self, IdError> {
        let name = name.into();
        if name == HUB { Ok(Self(name)) } else { Self::new(name) }
    }

    /// Whether it owns the hub's own journal.
    pub fn is_hub(&self) -> bool {
        self.0 == HUB
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Owner of the hub's own journal.
const HUB: &str = "@hub";

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AgentId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::owner(text)
    }
}

impl<'de> Deserialize<'de> for AgentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::owner(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The next value. Saturates at the top, which at one a nanosecond is 584 years away.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

counter! {
    /// The incarnation of an agent's journal. It grows by at least one whenever the journal could not be carried on
    /// (quarantined, emptied, restored from a copy), so that no (epoch, seq) is ever used for two payloads.
    Epoch
}
counter! {
    /// The place of an entry in one epoch of one agent's journal. The first is 1; 0 means "none yet".
    Seq
}
counter! {
    /// A bundle's number. It only ever grows; an agent that has stored a floor refuses anything below it.
    Generation
}
counter! {
    /// The incarnation of a hub's store. It grows when the hub finds that it was restored from an older copy; agents
    /// follow the highest they have seen and refuse commands under a lower one.
    HubEpoch
}

/// Names one entry of one agent, and with it the decision that the entry holds: `edge-03.1.42` is entry 42 of epoch 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId {
    /// Whose journal.
    pub agent: AgentId,
    /// Which incarnation of it.
    pub epoch: Epoch,
    /// Which entry in it.
    pub seq: Seq,
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.agent, self.epoch, self.seq)
    }
}

impl FromStr for DecisionId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError {
            what: "decision id",
            text: text.to_owned(),
            rule: "NODE.EPOCH.SEQ, for example edge-03.1.42",
        };
        let mut parts = text.split('.');
        let (Some(agent), Some(epoch), Some(seq), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let canonical = |digits: &str| match digits.parse::<u64>() {
            Ok(number) if number.to_string() == digits => Ok(number),
            _ => Err(wrong()),
        };
        Ok(Self {
            agent: AgentId::owner(agent)?,
            epoch: Epoch(canonical(epoch)?),
            seq: Seq(canonical(seq)?),
        })
    }
}

impl Serialize for DecisionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DecisionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError { what: $what, text: text.to_owned(), rule: $rule };
                if text.len() != 2 * $bytes || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                    return Err(wrong());
                }
                let mut bytes = [0u8; $bytes];
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| wrong())?;
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $bytes]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

hex_id! {
    /// A BLAKE3 hash of exact bytes; 64 hex digits in text.
    Digest, 32, "digest", "64 digits of 0-9 and a-f"
}
hex_id! {
    /// A command's id, drawn by the hub (UUIDv7 bytes); an agent applies each at most once. 32 hex digits in text.
    CommandId, 16, "command id", "32 digits of 0-9 and a-f"
}
hex_id! {
    /// A plan's id, drawn by the hub (UUIDv7 bytes, so that ids sort by time). 32 hex digits in text.
    PlanId, 16, "plan id", "32 digits of 0-9 and a-f"
}
hex_id! {
    /// Names a signing key: the first 8 bytes of the BLAKE3 hash of the public key. 16 hex digits in text.
    KeyId, 8, "key id", "16 digits of 0-9 and a-f"
}

impl Digest {
    /// The digest that stands before the first link of a chain.
    pub const ZERO: Self = Self([0; 32]);

    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl KeyId {
    /// The id of an Ed25519 public key.
    pub fn of(public_key: &[u8; 32]) -> Self {
        let hash = blake3::hash(public_key);
        let mut id = [0; 8];
        id.copy_from_slice(&hash.as_bytes()[..8]);
        Self(id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<T: FromStr<Err = IdError> + fmt::Display>(text: &str, expected: Result<(), &str>) {
        match (text.parse::<T>(), expected) {
            (Ok(id), Ok(())) => assert_eq!(id.to_string(), text),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (Ok(id), Err(part)) => {
                panic!("`{text}` parsed as {id}, expected an error with `{part}`")
            }
            (Err(error), Ok(())) => panic!("{error}"),
        }
    }

    #[test]
    fn node_names_are_dns_labels() {
        check::<AgentId>("edge-03", Ok(()));
        check::<AgentId>("a", Ok(()));
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"x".repeat(64)] {
            check::<AgentId>(bad, Err("node name"));
        }
    }

    #[test]
    fn decision_ids_have_one_spelling() {
        check::<DecisionId>("edge-03.1.42", Ok(()));
        for bad in [
            "edge-03",
            "edge-03.1",
            "edge-03.1.042",
            "edge-03.+1.4",
            "edge-03.1.42.7",
            "e.1.18446744073709551616",
        ] {
            check::<DecisionId>(bad, Err("NODE.EPOCH.SEQ"));
        }
    }

    #[test]
    fn digests_are_lower_case_hex() {
        check::<Digest>(&"0f".repeat(32), Ok(()));
        check::<Digest>(&"0F".repeat(32), Err("digest"));
        check::<CommandId>(&"00".repeat(15), Err("command id"));
    }

    proptest! {
        #[test]
        fn whatever_parses_prints_as_it_was(text in "[a-z0-9.-]{0,40}") {
            if let Ok(id) = text.parse::<DecisionId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
