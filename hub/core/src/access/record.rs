//! A person as a document: codec version 1.

use serde::{Deserialize, Serialize};
use wire::time::Wall;
use wire::{Permission, Role};

use crate::documents::Document;

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
    /// Whether the account is closed: it then holds no permission.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Wall,
    /// Sessions and tokens from before this moment are worth nothing: set by each change of the account.
    pub sessions_since: Wall,
}

impl User {
    /// Whether they may do something.
    pub fn may(&self, permission: Permission) -> bool {
        !self.disabled && self.role.may(permission)
    }
}

/// Unique key of a name: names that differ in case alone are one name.
pub(super) fn name_key(name: &str) -> String {
    format!("name:{}", name.to_lowercase())
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
        vec![name_key(&self.name)]
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("role", self.role.name().to_owned())]
    }
}
