//! The words about people: who they are, what they may do, what they did.

use std::path::PathBuf;

use clap::Subcommand;
use wire::{Permission, Role};

/// A role, by name.
fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|error: wire::ids::IdError| error.to_string())
}

/// A permission, by name.
fn permission(text: &str) -> Result<Permission, String> {
    text.parse().map_err(|error: wire::ids::IdError| error.to_string())
}

#[derive(Debug, clap::Args)]
pub struct Login {
    /// Log in as this person; the password is read from standard input or asked for
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Where to write the new context, mode 0600; the context in force if absent
    #[arg(long, value_name = "FILE", requires = "user")]
    pub save: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a person; prints a link with which they choose a password
    #[command(alias = "invite")]
    Create {
        /// Their name
        name: String,
        /// What they may do: viewer, operator, admin
        #[arg(long, value_parser = role, default_value = "viewer")]
        role: Role,
        /// The tenant whose resources they see
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Print a new link with which somebody chooses a password
    Link {
        /// Their name
        name: String,
    },
    /// Give somebody another role, or close or open their account; what they have open ends
    #[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
    Change {
        /// Their name
        name: String,
        /// The new role
        #[arg(long, value_parser = role, group = "what")]
        role: Option<Role>,
        /// Close the account
        #[arg(long, group = "what", conflicts_with = "enable")]
        disable: bool,
        /// Open the account again
        #[arg(long, group = "what")]
        enable: bool,
    },
    /// Remove a person with everything that they have open
    Remove {
        /// Their name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum ApiToken {
    /// Make a token for a program and print it once
    Create {
        /// What it is for
        name: String,
        /// The role; at most your own
        #[arg(long, value_parser = role, default_value = "viewer")]
        role: Role,
        /// The only permissions that it holds, for example nodes:read,audits:read; all of the role if absent
        #[arg(long, value_parser = permission, value_delimiter = ',')]
        scope: Vec<Permission>,
        /// How many days it lasts: 1 to 365
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=365))]
        days: u32,
    },
    /// Make a token worthless
    Revoke {
        /// Its id, as `sentinel get tokens` lists it
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Access {
    /// Every route of the API, its permission, and which roles may use it
    Matrix,
    /// The keys that sign access tokens, or have until lately
    Keys,
    /// Let a new key sign access tokens; nobody is logged out
    RotateKeys {
        /// Why
        #[arg(long)]
        reason: String,
        /// The present key is in wrong hands: its tokens are worth nothing at once
        #[arg(long)]
        stolen: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// What people and programs caused, or were refused, newest first
    List(AuditList),
    /// Read every entry of the hub's own journal again and check that it is whole, and that no node holds a signature that says otherwise
    Verify,
    /// Accept that the journal is not the one that was signed, after a restore for example; it stays on record
    Accept {
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Print every entry, oldest first, one JSON object on each line
    Export(AuditList),
}

#[derive(Debug, Clone, Default, clap::Args)]
pub struct AuditList {
    /// Only what this person or program caused
    #[arg(long)]
    pub who: Option<String>,
    /// Only this verb, for example policy.publish
    #[arg(long)]
    pub verb: Option<String>,
    /// Only what was done to this, for example user/ann
    #[arg(long)]
    pub target: Option<String>,
    /// Only what was done, or what was refused
    #[arg(long, value_parser = ["done", "refused"])]
    pub result: Option<String>,
    /// Only what came after this time, RFC 3339
    #[arg(long)]
    pub since: Option<wire::Wall>,
    /// Most rows; 0 is all of them
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
}
