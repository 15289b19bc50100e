//! What a person, a program, a brain, a forge or a cluster caused at the hub, as an entry of the hub's own journal.
//!
//! The document is the state, the entry is the reason: an entry names every document that was written with it, by digest, and
//! holds no secret and no body.
//!
//! Invariant: every text is at most [`MAX_TEXT_BYTES`] long; [`ChangeRecord::bounded`] cuts what is longer.
//! Read next: [`crate::entry`] (the chain it stands in).

use serde::{Deserialize, Serialize};

use crate::entry::EntryBody;
use crate::ids::Digest;

/// Longest text in a change, in bytes: a reason that a person types, or a refusal that names its way out.
pub const MAX_TEXT_BYTES: usize = 2_048;
/// Most details of one change.
pub const MAX_DETAILS: usize = 32;

/// Through what somebody reached the hub. The order is part of the stored format: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The hub itself: a deadline, a start.
    Hub,
    /// The API with a token.
    Api,
    /// The web console.
    Console,
    /// An agent's session.
    Agent,
    /// A brain: InfraMind, or the embedded one.
    Brain,
    /// A forge's webhook.
    Forge,
    /// A Kubernetes cluster.
    Cluster,
    /// A remediation agent.
    Remediation,
}

impl Via {
    /// The word in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Api => "api",
            Self::Console => "console",
            Self::Agent => "agent",
            Self::Brain => "brain",
            Self::Forge => "forge",
            Self::Cluster => "cluster",
            Self::Remediation => "remediation",
        }
    }
}

/// Who caused a change, and through what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Caller {
    /// Name of the person, program, node, brain or forge.
    pub name: String,
    /// Through what.
    pub via: Via,
    /// Network address without a port, where one is known.
    pub address: Option<String>,
}

impl Caller {
    /// The hub itself.
    pub fn hub() -> Self {
        Self::new("hub", Via::Hub)
    }

    /// Somebody whose address is not known.
    pub fn new(name: impl Into<String>, via: Via) -> Self {
        Self {
            name: name.into(),
            via,
            address: None,
        }
    }
}

/// One document as a change wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DocumentRef {
    /// Its kind, for example `plan`.
    pub kind: String,
    /// Its id within the kind.
    pub id: String,
    /// Its revision; the first is 1.
    pub revision: u64,
    /// BLAKE3 of its stored record; zero for a document that was removed.
    pub digest: Digest,
}

/// What came of a change. The order is part of the stored format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeResult {
    /// It is done, and its documents stand as named.
    Done,
    /// It was refused to somebody known; nothing was written.
    Refused {
        /// Stable code, for example `forbidden`.
        code: String,
        /// For people, with the way out.
        reason: String,
    },
}

/// One thing that somebody caused at the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeRecord {
    /// Who.
    pub caller: Caller,
    /// What: subject and verb, for example `plan.submit`.
    pub verb: String,
    /// On what, for example `plan/0198f…` or `node/edge-03`.
    pub target: String,
    /// Why, in the caller's words; empty where nobody gave one.
    pub reason: String,
    /// What came of it.
    pub result: ChangeResult,
    /// Facts that explain it: (name, value), in order.
    pub details: Vec<(String, String)>,
    /// Every document that was written with it.
    pub documents: Vec<DocumentRef>,
}

impl ChangeRecord {
    /// A change that is done, without a reason or details yet.
    pub fn new(caller: Caller, verb: &str, target: impl Into<String>) -> Self {
        Self {
            caller,
            verb: verb.to_owned(),
            target: target.into(),
            reason: String::new(),
            result: ChangeResult::Done,
            details: Vec::new(),
            documents: Vec::new(),
        }
    }

    /// With the caller's reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// With one more fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.details.push((name.to_owned(), value.to_string()));
        self
    }

    /// As a refusal.
    #[must_use]
    pub fn refused(mut self, code: &str, reason: impl Into<String>) -> Self {
        self.result = ChangeResult::Refused {
            code: code.to_owned(),
            reason: reason.into(),
        };
        self
    }

    /// With every text cut to its bound, so that what a caller sends never makes an entry too long.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.details.truncate(MAX_DETAILS);
        let texts = [
            &mut self.caller.name,
            &mut self.verb,
            &mut self.target,
            &mut self.reason,
        ];
        texts.into_iter().for_each(cut);
        if let ChangeResult::Refused { code, reason } = &mut self.result {
            cut(code);
            cut(reason);
        }
        for (name, value) in &mut self.details {
            cut(name);
            cut(value);
        }
        self
    }

    /// As the body of an entry.
    pub fn into_body(self) -> EntryBody {
        EntryBody::Changed(Box::new(self.bounded()))
    }

    /// One line for people: `ann (api) plan.submit plan/1: reason; limit 280 W`.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} ({}) {} {}",
            self.caller.name,
            self.caller.via.name(),
            self.verb,
            self.target
        );
        if let ChangeResult::Refused { code, reason } = &self.result {
            text.push_str(&format!(" refused, {code}: {reason}"));
        }
        if !self.reason.is_empty() {
            text.push_str(&format!(": {}", self.reason));
        }
        for (name, value) in &self.details {
            text.push_str(&format!("; {name} {value}"));
        }
        text
    }
}

fn cut(text: &mut String) {
    if text.len() > MAX_TEXT_BYTES {
        let end = (0..=MAX_TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submit() -> ChangeRecord {
        ChangeRecord::new(Caller::new("ann", Via::Api), "plan.submit", "plan/1")
    }

    #[test]
    fn the_line_names_who_what_and_why() {
        let change = submit().because("too warm").with("limit", "280 W");
        assert_eq!(change.text(), "ann (api) plan.submit plan/1: too warm; limit 280 W");
        let refused = submit().refused("forbidden", "needs plan:submit");
        assert_eq!(
            refused.text(),
            "ann (api) plan.submit plan/1 refused, forbidden: needs plan:submit"
        );
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let change = submit().because("ä".repeat(MAX_TEXT_BYTES)).bounded();
        assert_eq!(change.reason.len(), MAX_TEXT_BYTES);
        let odd = submit().because(format!("x{}", "ä".repeat(MAX_TEXT_BYTES))).bounded();
        assert_eq!(odd.reason.len(), MAX_TEXT_BYTES - 1);
    }
}
