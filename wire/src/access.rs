//! Who may do what: permissions and the roles that hold them, one table.
//!
//! Invariant: each role holds every permission of the roles before it; `system` holds all.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::IdError;

macro_rules! permissions {
    ($($variant:ident $text:literal $least:ident,)*) => {
        /// One thing that somebody may do. A permission is `subject:verb`.
        ///
        /// Names and holders of the first twenty are those of the original system; the rest are ours.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum Permission {
            $(
                #[doc = concat!("`", $text, "`")]
                #[serde(rename = $text)]
                $variant,
            )*
        }

        impl Permission {
            /// Every permission.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The least role that holds it.
            pub const fn least(self) -> Role {
                match self {
                    $(Self::$variant => Role::$least,)*
                }
            }
        }
    };
}

permissions! {
    WorkloadsRead "workloads:read" Viewer,
    WorkloadsWrite "workloads:write" Operator,
    WorkloadsDelete "workloads:delete" Admin,
    DeploymentsRead "deployments:read" Viewer,
    DeploymentsCreate "deployments:create" Operator,
    DeploymentsScale "deployments:scale" Operator,
    DeploymentsRollback "deployments:rollback" Operator,
    DeploymentsDelete "deployments:delete" Admin,
    PlansRead "plans:read" Viewer,
    PlansExecute "plans:execute" Operator,
    PlansApprove "plans:approve" Admin,
    PoliciesRead "policies:read" Viewer,
    PoliciesWrite "policies:write" Admin,
    PoliciesDelete "policies:delete" Admin,
    ClustersRead "clusters:read" Viewer,
    ClustersManage "clusters:manage" Admin,
    AuditsRead "audits:read" Viewer,
    UsersManage "users:manage" Admin,
    RolesManage "roles:manage" Admin,
    SystemAdmin "system:admin" System,
    NodesRead "nodes:read" Viewer,
    NodesAct "nodes:act" Operator,
    NodesManage "nodes:manage" Admin,
    TasksRead "tasks:read" Viewer,
    TasksManage "tasks:manage" Operator,
    TasksLease "tasks:lease" System,
    IntegrationsRead "integrations:read" Viewer,
    IntegrationsManage "integrations:manage" Admin,
}

/// What a person or program is at the hub. Later roles hold what earlier ones do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and acts.
    Operator,
    /// Also manages policies, people, clusters and approvals.
    Admin,
    /// Everything; for programs of the hub itself.
    System,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Admin, Self::System];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::System => "system",
        }
    }

    /// Whether it holds a permission.
    pub fn may(self, permission: Permission) -> bool {
        self >= permission.least()
    }

    /// Every permission that it holds.
    pub fn permissions(self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .iter()
            .copied()
            .filter(move |permission| self.may(*permission))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| IdError {
                what: "role",
                text: text.to_owned(),
                rule: "viewer, operator, admin or system",
            })
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Permission {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL
            .iter()
            .copied()
            .find(|permission| permission.name() == text)
            .ok_or_else(|| IdError {
                what: "permission",
                text: text.to_owned(),
                rule: "SUBJECT:VERB, as `sentinel access matrix` lists them",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_hold_as_many_of_the_original_permissions_as_in_the_original() {
        let of_original = |role: Role| {
            Permission::ALL[..20]
                .iter()
                .filter(|permission| role.may(**permission))
                .count()
        };
        assert_eq!(Role::ALL.map(of_original), [6, 11, 19, 20]);
    }

    #[test]
    fn names_are_read_back() {
        for permission in Permission::ALL {
            assert_eq!(permission.name().parse(), Ok(*permission));
        }
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert!(
            "root"
                .parse::<Role>()
                .expect_err("no role")
                .to_string()
                .contains("viewer, operator")
        );
    }
}
