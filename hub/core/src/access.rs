//! People: who they are, which role they have, and that somebody is always left who can manage them.
//!
//! Decides whether a change of people is allowed by itself (names, the last administrator); whether the caller may ask for it is
//! decided before, by the route's permission. Holds password hashes, never passwords: hashing takes time and memory, so the shell
//! does it before it asks.
//!
//! Invariants: a name belongs to one person; while anybody is stored, some enabled person is an administrator; permissions are read
//! from what is stored.
//!
//! Read next: `access/record.rs` (the document), `cx.rs` (how a subject writes).

mod record;

use wire::change::{Caller, ChangeRecord};
use wire::time::Wall;
use wire::{Permission, Role};

pub use record::User;

use crate::cx::Cx;
use crate::documents::{Document, Documents, StoredDocument, Unreadable};
use crate::effect::Answer;

/// What somebody wants of people's accounts.
#[derive(Debug, Clone)]
pub enum AccessRequest {
    /// The first person, while there is none: an administrator.
    First(NewUser),
    /// One more person.
    Create(NewUser),
    /// Another role, password or state; `None` leaves what there is.
    Change {
        /// Who, by name.
        name: String,
        /// The new role.
        role: Option<Role>,
        /// The new password's hash, in PHC format.
        password: Option<String>,
        /// Whether the account is closed.
        disabled: Option<bool>,
    },
    /// One person less.
    Remove {
        /// Who, by name.
        name: String,
    },
}

/// A person that is to be added.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The document's id, drawn by the shell: a UUIDv7.
    pub id: String,
    /// The name to log in with.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The tenant whose resources they see; `None` for those that belong to none.
    pub tenant: Option<String>,
    /// The password's hash, in PHC format; `None` for one who cannot log in by password.
    pub password: Option<String>,
}

/// Everybody.
#[derive(Debug, Default)]
pub(crate) struct Access {
    users: Documents<User>,
}

impl Access {
    pub(crate) fn recovered(
        documents: impl IntoIterator<Item = StoredDocument>,
        keys: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Unreadable> {
        Ok(Self {
            users: Documents::recovered(documents, keys)?,
        })
    }

    /// Whether nobody is there yet: then the first one may come by the link that the hub printed.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// A stored person by name.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.stored(self.users.holder(&record::name_key(name))?)
    }

    /// Every stored person.
    pub(crate) fn users(&self) -> impl Iterator<Item = &User> {
        self.users.iter_stored()
    }

    /// A row came back from the store, or did not.
    pub(crate) fn settle(&mut self, id: &str, revision: u64, is_stored: bool) {
        self.users.settle(id, revision, is_stored);
    }

    /// Carries a request out, or says why not.
    pub(crate) fn handle(&mut self, request: u64, caller: Caller, what: AccessRequest, cx: &mut Cx<'_>) {
        let result = match what {
            AccessRequest::First(_) if !self.is_empty() => {
                Err("somebody is there already: ask an administrator".to_owned())
            }
            AccessRequest::First(user) => {
                let role = Role::Admin;
                self.create(caller, NewUser { role, ..user }, cx)
            }
            AccessRequest::Create(user) => self.create(caller, user, cx),
            AccessRequest::Change {
                name,
                role,
                password,
                disabled,
            } => self.change(caller, &name, (role, password, disabled), cx),
            AccessRequest::Remove { name } => self.remove(caller, &name, cx),
        };
        match result {
            Ok(user) => cx.reply_when_stored(request, Answer::User(Box::new(user))),
            Err(reason) => cx.reply(request, Answer::Rejected { reason }),
        }
    }

    fn create(&mut self, caller: Caller, new: NewUser, cx: &mut Cx<'_>) -> Result<User, String> {
        let user = User::new(new, cx.now.wall)?;
        let change = ChangeRecord::new(caller, "user.create", target(&user.name)).with("role", user.role);
        self.put(user, change, cx)
    }

    fn change(
        &mut self,
        caller: Caller,
        name: &str,
        (role, password, disabled): (Option<Role>, Option<String>, Option<bool>),
        cx: &mut Cx<'_>,
    ) -> Result<User, String> {
        let mut user = self.newest(name)?.clone();
        let mut change = ChangeRecord::new(caller, "user.change", target(name));
        if let Some(role) = role {
            change = change.with("role", format!("{} -> {role}", user.role));
            user.role = role;
        }
        if let Some(disabled) = disabled {
            change = change.with("disabled", disabled);
            user.disabled = disabled;
        }
        if let Some(password) = password {
            change = change.with("password", "changed");
            user.password = Some(password);
        }
        self.leaves_an_administrator(&user.id, Some(&user))?;
        user.sessions_since = cx.now.wall;
        self.put(user, change, cx)
    }

    fn remove(&mut self, caller: Caller, name: &str, cx: &mut Cx<'_>) -> Result<User, String> {
        let user = self.newest(name)?.clone();
        self.leaves_an_administrator(&user.id, None)?;
        if let Some(put) = self.users.remove(&user.id) {
            cx.record(ChangeRecord::new(caller, "user.remove", target(name)));
            cx.put(put);
        }
        Ok(user)
    }

    fn put(&mut self, user: User, change: ChangeRecord, cx: &mut Cx<'_>) -> Result<User, String> {
        let put = self.users.put(user.clone(), 0).map_err(|error| error.to_string())?;
        cx.record(change);
        cx.put(put);
        Ok(user)
    }

    fn newest(&self, name: &str) -> Result<&User, String> {
        let id = self.users.holder(&record::name_key(name));
        id.and_then(|id| self.users.get(id))
            .ok_or_else(|| format!("there is no user `{name}`: `sentinel get users` lists them"))
    }

    /// Whether an enabled administrator is left when this person becomes `after`.
    fn leaves_an_administrator(&self, id: &str, after: Option<&User>) -> Result<(), String> {
        let others = self.users.iter().filter(|user| user.id != id);
        if others.chain(after).any(|user| user.may(Permission::UsersManage)) {
            Ok(())
        } else {
            Err("nobody would be left who may manage users: make somebody else an admin first".to_owned())
        }
    }
}

fn target(name: &str) -> String {
    format!("{}/{name}", User::KIND)
}

impl User {
    fn new(new: NewUser, now: Wall) -> Result<Self, String> {
        let is_name = (3..=50).contains(&new.name.chars().count())
            && new.name.chars().all(|c| c.is_alphanumeric() || "-_.@".contains(c));
        if !is_name {
            return Err(format!(
                "name: `{}` is not a user name: 3 to 50 letters, digits, `-`, `_`, `.` or `@`",
                new.name
            ));
        }
        Ok(Self {
            id: new.id,
            name: new.name,
            role: new.role,
            tenant: new.tenant,
            password: new.password,
            disabled: false,
            created_at: now,
            sessions_since: now,
        })
    }
}
