//! People: who they are, which role they have, what they have open, and that somebody is always left who can manage them.
//!
//! Decides whether a change of people is allowed by itself (names, the last administrator); whether the caller may ask for it is
//! decided before, by the route's permission. Holds hashes, never passwords or codes: hashing takes time and memory, so the shell
//! does it before it asks.
//!
//! Invariants: a name belongs to one person; while anybody is stored, some enabled person is an administrator; permissions are read
//! from what is stored; an invitation is accepted once.
//!
//! Read next: `access/record.rs` (the documents), `access/sessions.rs` (what people have open), `access/refusals.rs`, `cx.rs` (how a
//! subject writes).

mod record;
mod refusals;
mod sessions;

use std::time::Duration;

use wire::change::{Caller, ChangeRecord};
use wire::ids::Digest;
use wire::time::Wall;
use wire::{Permission, Role};

pub use record::{ApiToken, Invite, Session, User};

use crate::cx::Cx;
use crate::documents::{Document, Documents, Unreadable};
use crate::effect::Answer;
use crate::hub::recover;
use crate::input::Recovered;
use crate::timers::Timer;
use refusals::Refusals;

/// Time between two looks for what has ended: an ended session is refused by its own date, so this only frees memory.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What somebody wants of people's accounts.
#[derive(Debug, Clone)]
pub enum AccessRequest {
    /// The first person, while there is none: an administrator.
    First(NewUser),
    /// One more person.
    Create(NewUser),
    /// A link with which a person sets their password; a new one makes the former worthless.
    Invite {
        /// Who, by name.
        name: String,
        /// The invitation.
        invite: Invite,
    },
    /// A person accepts an invitation.
    Accept {
        /// Hash of its code.
        code: Digest,
        /// The password's hash, in PHC format.
        password: String,
    },
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
    /// A person whose password was right opens a session.
    Open(Session),
    /// A session goes on with another secret.
    Refresh {
        /// Which session.
        session: String,
        /// Hash of the secret that was given. One that is not the present one has been used before: the session ends.
        given: Digest,
        /// Hash of the next secret.
        next: Digest,
    },
    /// A session is over.
    Close {
        /// Which.
        session: String,
    },
    /// A token for a program.
    CreateToken(ApiToken),
    /// A token is worth nothing from here on.
    RevokeToken {
        /// Which.
        id: String,
    },
    /// A token was used: kept, not recorded.
    TokenUsed {
        /// Which.
        id: String,
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
    /// The password's hash, in PHC format; `None` for one who cannot log in by password yet.
    pub password: Option<String>,
    /// A link with which they set their password.
    pub invite: Option<Invite>,
}

/// Everybody.
#[derive(Debug, Default)]
pub struct Access {
    users: Documents<User>,
    sessions: Documents<Session>,
    tokens: Documents<ApiToken>,
    refusals: Refusals,
}

impl Access {
    pub(crate) fn recovered(recovered: &mut Recovered) -> Result<Self, Unreadable> {
        Ok(Self {
            users: recover::<User, _>(recovered, Documents::recovered)?,
            sessions: recover::<Session, _>(recovered, Documents::recovered)?,
            tokens: recover::<ApiToken, _>(recovered, Documents::recovered)?,
            refusals: Refusals::default(),
        })
    }

    /// Whether nobody is there yet: then the first one may come by the link that the hub printed.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// A stored person by name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.stored(self.users.holder(&record::name_key(name))?)
    }

    /// A stored person by id.
    pub fn user_by_id(&self, id: &str) -> Option<&User> {
        self.users.stored(id)
    }

    /// Every stored person.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.iter_stored()
    }

    /// A stored session.
    pub fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.stored(id)
    }

    /// Every stored session.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter_stored()
    }

    /// A stored token.
    pub fn token(&self, id: &str) -> Option<&ApiToken> {
        self.tokens.stored(id)
    }

    /// Every stored token.
    pub fn tokens(&self) -> impl Iterator<Item = &ApiToken> {
        self.tokens.iter_stored()
    }

    /// A row came back from the store, or did not.
    pub(crate) fn settle(&mut self, kind: &str, id: &str, revision: u64, is_stored: bool) {
        match kind {
            User::KIND => self.users.settle(id, revision, is_stored),
            Session::KIND => self.sessions.settle(id, revision, is_stored),
            _ => self.tokens.settle(id, revision, is_stored),
        }
    }

    /// Somebody known was refused.
    pub(crate) fn refused(&mut self, change: ChangeRecord, cx: &mut Cx<'_>) {
        self.refusals.told(change, cx);
    }

    /// What has ended goes, and what was refused again is recorded.
    pub(crate) fn time(&mut self, cx: &mut Cx<'_>) {
        self.refusals.time(cx);
        self.sweep(cx);
        cx.at(cx.now.mono + SWEEP_EVERY, Timer::Access);
    }

    /// Carries a request out, or says why not.
    pub(crate) fn handle(&mut self, request: u64, caller: Caller, what: AccessRequest, cx: &mut Cx<'_>) {
        match self.carried_out(caller, what, cx) {
            Ok(answer) => cx.reply_when_stored(request, answer),
            Err(reason) => cx.reply(request, Answer::Rejected { reason }),
        }
    }

    fn carried_out(&mut self, caller: Caller, what: AccessRequest, cx: &mut Cx<'_>) -> Result<Answer, String> {
        let user = match what {
            AccessRequest::First(_) if !self.is_empty() => {
                return Err("somebody is there already: ask an administrator for an invitation".to_owned());
            }
            AccessRequest::First(user) => {
                let role = Role::Admin;
                self.create(caller, NewUser { role, ..user }, cx)
            }
            AccessRequest::Create(user) => self.create(caller, user, cx),
            AccessRequest::Invite { name, invite } => self.invite(caller, &name, invite, cx),
            AccessRequest::Accept { code, password } => self.accept(caller, &code, password, cx),
            AccessRequest::Change {
                name,
                role,
                password,
                disabled,
            } => self.change(caller, &name, (role, password, disabled), cx),
            AccessRequest::Remove { name } => self.remove(caller, &name, cx),
            AccessRequest::Open(session) => return self.open(caller, session, cx),
            AccessRequest::Refresh { session, given, next } => {
                return self.refresh(caller, &session, &given, next, cx);
            }
            AccessRequest::Close { session } => return self.close(caller, &session, cx),
            AccessRequest::CreateToken(token) => return self.create_token(caller, token, cx),
            AccessRequest::RevokeToken { id } => return self.revoke_token(caller, &id, cx),
            AccessRequest::TokenUsed { id } => return self.token_used(&id, cx),
        };
        Ok(Answer::User(Box::new(user?)))
    }

    fn create(&mut self, caller: Caller, new: NewUser, cx: &mut Cx<'_>) -> Result<User, String> {
        let user = User::new(new, cx.now.wall)?;
        if self.users.holder(&record::name_key(&user.name)).is_some() {
            return Err(format!("there is a user `{}` already", user.name));
        }
        let change = ChangeRecord::new(caller, "user.create", target(&user.name)).with("role", user.role);
        self.put(user, change, cx)
    }

    fn invite(&mut self, caller: Caller, name: &str, invite: Invite, cx: &mut Cx<'_>) -> Result<User, String> {
        let mut user = self.newest(name)?.clone();
        user.invite = Some(invite);
        self.put(user, ChangeRecord::new(caller, "user.invite", target(name)), cx)
    }

    fn accept(&mut self, caller: Caller, code: &Digest, password: String, cx: &mut Cx<'_>) -> Result<User, String> {
        let id = self.users.holder(&record::invite_key(code));
        let invited = id.and_then(|id| self.users.get(id));
        let Some(mut user) = invited.filter(|user| user.is_invited_by(code, cx.now.wall)).cloned() else {
            return Err("this link was used before, or has ended: ask an administrator for another".to_owned());
        };
        user.invite = None;
        user.password = Some(password);
        user.sessions_since = cx.now.wall;
        let caller = Caller {
            name: user.name.clone(),
            ..caller
        };
        let change = ChangeRecord::new(caller, "user.accept", target(&user.name));
        self.close_all(&user.id, cx);
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
        user.invite = None;
        self.close_all(&user.id, cx);
        self.put(user, change, cx)
    }

    fn remove(&mut self, caller: Caller, name: &str, cx: &mut Cx<'_>) -> Result<User, String> {
        let user = self.newest(name)?.clone();
        self.leaves_an_administrator(&user.id, None)?;
        if let Some(put) = self.users.remove(&user.id) {
            cx.record(ChangeRecord::new(caller, "user.remove", target(name)));
            cx.put(put);
        }
        self.close_all(&user.id, cx);
        self.remove_tokens(&user.id, cx);
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

    /// Whether an enabled administrator is left when this person becomes `after`. Whoever is none takes none away: before the first one, the
    /// hub's own token manages people.
    fn leaves_an_administrator(&self, id: &str, after: Option<&User>) -> Result<(), String> {
        let manages = |user: &User| user.may(Permission::UsersManage);
        let others = self.users.iter().filter(|user| user.id != id);
        if !self.users.get(id).is_some_and(manages) || others.chain(after).any(manages) {
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
        if record::RESERVED.contains(&new.name.to_lowercase().as_str()) {
            return Err(format!("name: `{}` is a name of the system: take another", new.name));
        }
        Ok(Self {
            id: new.id,
            name: new.name,
            role: new.role,
            tenant: new.tenant,
            password: new.password,
            invite: new.invite,
            disabled: false,
            created_at: now,
            sessions_since: now,
        })
    }
}
