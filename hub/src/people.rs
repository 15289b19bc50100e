//! People, their sessions and their tokens as they are stored, for the door: every request asks here who comes.
//!
//! A copy of what the core holds, brought up to date after each stored change and before anybody is told of it: what was revoked
//! opens nothing from the moment that the revocation is answered.
//!
//! Invariant: holds nothing that is not stored.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use hub_core::{Access, ApiToken, Document, Session, User};
use wire::ids::Digest;
use wire::time::Wall;

/// Everybody whom the door may know.
#[derive(Debug, Default)]
pub struct People(RwLock<Inside>);

#[derive(Debug, Default)]
struct Inside {
    users: BTreeMap<String, Arc<User>>,
    sessions: BTreeMap<String, Arc<Session>>,
    tokens: BTreeMap<String, Arc<ApiToken>>,
}

fn by_id<D: Document>(documents: impl Iterator<Item = D>) -> BTreeMap<String, Arc<D>> {
    documents.map(|document| (document.id(), Arc::new(document))).collect()
}

fn replace<D: Document>(all: &mut BTreeMap<String, Arc<D>>, id: &str, stored: Option<&D>) {
    match stored {
        Some(document) => drop(all.insert(id.to_owned(), Arc::new(document.clone()))),
        None => drop(all.remove(id)),
    }
}

impl People {
    /// Everybody whom the core holds.
    pub fn of(access: &Access) -> Self {
        Self(RwLock::new(Inside {
            users: by_id(access.users().cloned()),
            sessions: by_id(access.sessions().cloned()),
            tokens: by_id(access.tokens().cloned()),
        }))
    }

    /// One document is stored, or gone.
    pub fn changed(&self, access: &Access, kind: &str, id: &str) {
        let mut inside = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match kind {
            User::KIND => replace(&mut inside.users, id, access.user_by_id(id)),
            Session::KIND => replace(&mut inside.sessions, id, access.session(id)),
            _ => replace(&mut inside.tokens, id, access.token(id)),
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Inside) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether nobody is there yet.
    pub fn is_empty(&self) -> bool {
        self.read(|inside| inside.users.is_empty())
    }

    /// A person by id.
    pub fn user(&self, id: &str) -> Option<Arc<User>> {
        self.read(|inside| inside.users.get(id).cloned())
    }

    /// A person by name, in any case.
    pub fn named(&self, name: &str) -> Option<Arc<User>> {
        let name = name.to_lowercase();
        self.read(|inside| {
            let mut users = inside.users.values();
            users.find(|user| user.name.to_lowercase() == name).cloned()
        })
    }

    /// The person for whom this code is.
    pub fn invited(&self, code: &Digest, now: Wall) -> Option<Arc<User>> {
        let is_open = |user: &&Arc<User>| {
            let invite = user.invite.as_ref();
            invite.is_some_and(|invite| invite.code == *code && invite.ends > now)
        };
        self.read(|inside| inside.users.values().find(is_open).cloned())
    }

    /// Everybody, by name.
    pub fn users(&self) -> Vec<Arc<User>> {
        let mut users: Vec<_> = self.read(|inside| inside.users.values().cloned().collect());
        users.sort_by(|left, right| left.name.cmp(&right.name));
        users
    }

    /// A session that has not ended, with its person.
    pub fn session(&self, id: &str, now: Wall) -> Option<(Arc<Session>, Arc<User>)> {
        self.read(|inside| {
            let session = inside.sessions.get(id).filter(|session| session.ends > now)?;
            let user = inside.users.get(&session.user).filter(|user| !user.disabled)?;
            Some((Arc::clone(session), Arc::clone(user)))
        })
    }

    /// How many sessions a person has open.
    pub fn sessions_of(&self, user: &str) -> usize {
        self.read(|inside| {
            let sessions = inside.sessions.values();
            sessions.filter(|session| session.user == user).count()
        })
    }

    /// A token, also one that has ended.
    pub fn token(&self, id: &str) -> Option<Arc<ApiToken>> {
        self.read(|inside| inside.tokens.get(id).cloned())
    }

    /// Every token, the newest first.
    pub fn tokens(&self) -> Vec<Arc<ApiToken>> {
        self.read(|inside| inside.tokens.values().rev().cloned().collect())
    }
}
