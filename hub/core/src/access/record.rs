//! People, what they have open, and the tokens of their programs, as documents: codec version 1.

use serde::{Deserialize, Serialize};
use wire::change::Via;
use wire::ids::Digest;
use wire::time::Wall;
use wire::{Permission, Role};

use crate::documents::Document;

/// Names that stand for the hub itself in entries: nobody can be called so.
pub(super) const RESERVED: [&str; 5] = ["hub", "@hub", "system", "administrator", "sentinel-hub"];

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Id, a UUIDv7.
    pub id: String,
    /// The name to log in with.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The tenant whose resources they see.
    pub tenant: Option<String>,
    /// The password's hash, in PHC format; `None` for one who cannot log in by password.
    pub password: Option<String>,
    /// A link that is open, with which they set their password.
    pub invite: Option<Invite>,
    /// Whether the account is closed: it then holds no permission.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Wall,
    /// Sessions and tokens from before this moment are worth nothing: set by each change of the account.
    pub sessions_since: Wall,
}

/// A link with which a person sets their password, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Hash of its code.
    pub code: Digest,
    /// Until when.
    pub ends: Wall,
}

impl User {
    /// Whether they may do something.
    pub fn may(&self, permission: Permission) -> bool {
        !self.disabled && self.role.may(permission)
    }

    pub(super) fn is_invited_by(&self, code: &Digest, now: Wall) -> bool {
        self.invite
            .as_ref()
            .is_some_and(|invite| invite.code == *code && invite.ends > now)
    }
}

/// What a person has open: a browser, or a command line that logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Id, a UUIDv7.
    pub id: String,
    /// Id of the person.
    pub user: String,
    /// Name of the person, for entries.
    pub name: String,
    /// A browser's, or a program's with tokens of its own.
    pub via: Via,
    /// Hash of the secret that opens it: the cookie's, or the refresh token's, which changes with each use.
    pub secret: Digest,
    /// When it was opened.
    pub opened_at: Wall,
    /// Until when it lasts.
    pub ends: Wall,
}

/// A token of a program, which acts for the person who made it, with a role of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Id, a UUIDv7.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Id of the person who made it; `None` for one of the hub's administrator, which lasts until it is revoked.
    pub user: Option<String>,
    /// Name of that person.
    pub owner: String,
    /// The role that it has; never more than its owner's.
    pub role: Role,
    /// The only permissions of that role that it holds; empty for all.
    pub scope: Vec<Permission>,
    /// Hash of the token.
    pub secret: Digest,
    /// When it was made.
    pub created_at: Wall,
    /// Until when it lasts.
    pub ends: Wall,
    /// When it was last used, to within some minutes.
    pub used_at: Option<Wall>,
}

/// Unique key of a name: names that differ in case alone are one name.
pub(super) fn name_key(name: &str) -> String {
    format!("name:{}", name.to_lowercase())
}

/// Unique key of an invitation.
pub(super) fn invite_key(code: &Digest) -> String {
    format!("invite:{code}")
}

impl Document for User {
    const KIND: &'static str = "user";
    const VERSION: u8 = 1;
    /// A large organisation with everybody in it; each takes about 300 bytes of memory.
    const MOST_LIVE: usize = 10_000;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn unique(&self) -> Vec<String> {
        let invite = self.invite.as_ref().map(|invite| invite_key(&invite.code));
        [name_key(&self.name)].into_iter().chain(invite).collect()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("role", self.role.name().to_owned())]
    }
}

impl Document for Session {
    const KIND: &'static str = "session";
    const VERSION: u8 = 1;
    /// Some for each person; each takes about 300 bytes of memory.
    const MOST_LIVE: usize = 20_000;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Document for ApiToken {
    const KIND: &'static str = "api-token";
    const VERSION: u8 = 1;
    /// One for each person and a program of theirs.
    const MOST_LIVE: usize = 10_000;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn unique(&self) -> Vec<String> {
        vec![format!("name:{}/{}", self.owner, self.name)]
    }
}
