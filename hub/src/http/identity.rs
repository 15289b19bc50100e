//! Who somebody is and what they may do, as the door found out.

use hub_core::{ApiToken, Session, User};
use wire::change::{Caller, Via};
use wire::{Permission, Role};

/// Name of the administrator's token in entries and decisions; nobody can be called so.
pub const ADMINISTRATOR: &str = "administrator";

/// Somebody who has come in.
#[derive(Debug, Clone)]
pub struct Identity {
    /// How they stand in entries.
    pub caller: Caller,
    /// Their role.
    pub role: Role,
    /// The only permissions that they hold; `None` for all of the role.
    pub scope: Option<Vec<Permission>>,
    /// The tenant that they belong to.
    pub tenant: Option<String>,
    /// Id of the person; `None` for the administrator's token.
    pub user: Option<String>,
    /// Id of their session, if they have one.
    pub session: Option<String>,
    /// Id of the API token, if they came with one.
    pub token: Option<String>,
}

impl Identity {
    /// The administrator's token, or a browser that it let in: the system's own identity.
    pub fn administrator(via: Via) -> Self {
        Self {
            caller: Caller::new(ADMINISTRATOR, via),
            role: Role::System,
            scope: None,
            tenant: None,
            user: None,
            session: None,
            token: None,
        }
    }

    /// A person with a session.
    pub fn person(user: &User, session: &Session) -> Self {
        Self {
            caller: Caller::new(&user.name, session.via),
            role: user.role,
            scope: None,
            tenant: user.tenant.clone(),
            user: Some(user.id.clone()),
            session: Some(session.id.clone()),
            token: None,
        }
    }

    /// A program with a token of its own; `owner` is `None` for one that the administrator made.
    pub fn program(token: &ApiToken, owner: Option<&User>) -> Self {
        Self {
            caller: Caller::new(format!("{}/{}", token.owner, token.name), Via::Api),
            role: owner.map_or(token.role, |owner| owner.role.min(token.role)),
            scope: (!token.scope.is_empty()).then(|| token.scope.clone()),
            tenant: owner.and_then(|owner| owner.tenant.clone()),
            user: token.user.clone(),
            session: None,
            token: Some(token.id.clone()),
        }
    }

    /// Whether they may do something.
    pub fn may(&self, permission: Permission) -> bool {
        let in_scope = self.scope.as_ref().is_none_or(|scope| scope.contains(&permission));
        in_scope && self.role.may(permission)
    }

    /// Everything that they may do.
    pub fn permissions(&self) -> Vec<Permission> {
        let all = Permission::ALL.iter().copied();
        all.filter(|permission| self.may(*permission)).collect()
    }
}
