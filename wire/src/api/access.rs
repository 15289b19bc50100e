//! People, what they may do, and what they did.
//!
//! Read next: [`crate::access`] (the permissions), [`crate::change`] (an entry of the hub's own journal).

use serde::{Deserialize, Serialize};

use crate::access::{Permission, Role};
use crate::change::{ChangeResult, DocumentRef, Via};
use crate::ids::{AgentId, DecisionId, Digest};
use crate::time::Wall;

/// A name and a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// The name.
    #[serde(alias = "name")]
    pub username: String,
    /// The password.
    pub password: String,
}

/// A one-time link's code, with what its holder chooses.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetupRequest {
    /// The code of the link.
    pub code: String,
    /// The name; only for the first person, an invited one has theirs.
    #[serde(default, alias = "username", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The password: 8 to 256 characters.
    pub password: String,
}

/// A refresh token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// The token; each can be used once.
    pub refresh_token: String,
}

/// What a program acts with after a login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokensView {
    /// Bearer token of the API, a JWT.
    pub access_token: String,
    /// Gives the next pair, once.
    pub refresh_token: String,
    /// Always `bearer`.
    pub token_type: String,
    /// How long the access token is good for, in seconds.
    pub expires_in: u64,
}

/// Who asks, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MeView {
    /// Their name.
    pub username: String,
    /// Their role.
    pub role: Role,
    /// The tenant that they belong to.
    pub tenant: Option<String>,
    /// Through what they ask.
    pub via: Via,
    /// Everything that they may do.
    pub permissions: Vec<Permission>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UserView {
    /// The name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The tenant that they belong to.
    pub tenant: Option<String>,
    /// The account is closed.
    pub disabled: bool,
    /// A password is set.
    pub has_password: bool,
    /// A link waits for them until then.
    pub invited_until: Option<Wall>,
    /// Sessions that are open.
    pub sessions: u64,
    /// When it was made.
    pub created_at: Wall,
}

/// A person that is to be added.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewUserRequest {
    /// The name: 3 to 50 letters, digits, `-`, `_`, `.` or `@`.
    #[serde(alias = "username")]
    pub name: String,
    /// The role.
    pub role: Role,
    /// The tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The password; without it the answer has a link with which they choose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// A change of a person's account; what is absent stays.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeUserRequest {
    /// The new role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether the account is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The new password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// A person as they stand after a change, with the link that waits for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InviteView {
    /// The person.
    #[serde(flatten)]
    pub user: UserView,
    /// The link, shown once; absent where a password was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A role with what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoleView {
    /// Its name.
    pub name: Role,
    /// What it may do.
    pub permissions: Vec<Permission>,
}

/// One route, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RouteView {
    /// HTTP method.
    pub method: String,
    /// Path with names in braces.
    pub path: String,
    /// The permission; `open` for everybody, `known` for everybody who has come in.
    pub permission: String,
    /// Whether a viewer may.
    pub viewer: bool,
    /// Whether an operator may.
    pub operator: bool,
    /// Whether an admin may.
    pub admin: bool,
    /// Whether the system may.
    pub system: bool,
}

/// One entry of the hub's own journal: what somebody caused, or was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditView {
    /// Its place in the journal.
    pub id: DecisionId,
    /// When.
    pub at: Wall,
    /// Who.
    pub who: String,
    /// Through what.
    pub via: Via,
    /// From which network address.
    pub address: Option<String>,
    /// What: subject and verb, for example `policy.publish`.
    pub verb: String,
    /// On what.
    pub target: String,
    /// Why.
    pub reason: String,
    /// `done` or `refused`.
    pub result: String,
    /// Stable code of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it was refused, with the way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Facts that explain it, in order.
    pub details: Vec<(String, String)>,
    /// Documents that were written with it.
    pub documents: Vec<DocumentRef>,
}

impl AuditView {
    /// A change as it is listed.
    pub fn new(id: DecisionId, at: Wall, change: crate::change::ChangeRecord) -> Self {
        let (result, code, detail) = match change.result {
            ChangeResult::Done => ("done", None, None),
            ChangeResult::Refused { code, reason } => ("refused", Some(code), Some(reason)),
        };
        Self {
            id,
            at,
            who: change.caller.name,
            via: change.caller.via,
            address: change.caller.address,
            verb: change.verb,
            target: change.target,
            reason: change.reason,
            result: result.to_owned(),
            code,
            detail,
            details: change.details,
            documents: change.documents,
        }
    }
}

/// Whether the hub's own journal is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditCheckView {
    /// Every entry is there once and continues the one before it, and no agent holds a signature that says otherwise, unless a
    /// person has accepted that.
    pub ok: bool,
    /// How many there are.
    pub entries: u64,
    /// The first one that is missing, or does not continue the one before it.
    pub first_bad: Option<DecisionId>,
    /// What is wrong, for people.
    pub detail: String,
    /// The end of the journal that was signed last; agents keep it.
    #[serde(default)]
    pub checkpoint: Option<CheckpointView>,
    /// Where agents have proven that the journal is not the one that was signed, oldest first.
    #[serde(default)]
    pub breaks: Vec<JournalBreakView>,
}

/// The end of the hub's own journal, as the hub signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckpointView {
    /// The last entry.
    pub entry: DecisionId,
    /// Its digest.
    pub digest: Digest,
    /// When it was signed.
    pub at: Wall,
}

/// The hub's own journal is not the one that was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JournalBreakView {
    /// The first entry that is known to be missing or another one.
    pub first_bad: DecisionId,
    /// The last entry that was signed.
    pub signed: DecisionId,
    /// Digest of that entry.
    pub digest: Digest,
    /// When it was signed.
    pub signed_at: Wall,
    /// The agent that gave the signature back first.
    pub witness: AgentId,
    /// When it did.
    pub found_at: Wall,
    /// What it means, for people.
    pub detail: String,
    /// Who has accepted it; nobody yet if absent.
    pub accepted_by: Option<String>,
    /// Why they did.
    pub accepted_because: Option<String>,
    /// When they did.
    pub accepted_at: Option<Wall>,
}

/// A key that signs access tokens, or has signed them until lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenKeyView {
    /// Its id, the `kid` of its tokens.
    pub id: String,
    /// The algorithm of its tokens.
    pub algorithm: String,
    /// The public key: 32 bytes of Ed25519 in base64url without padding.
    pub public_key: String,
    /// Whether it signs new tokens.
    pub signs: bool,
    /// Since when it has.
    pub made_at: Wall,
    /// Until when tokens of a former key are accepted.
    pub accepted_until: Option<Wall>,
}

/// A new key is to sign access tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateKeysRequest {
    /// Why.
    pub reason: String,
    /// The present key is in wrong hands: its tokens are worth nothing at once, and everybody refreshes.
    #[serde(default)]
    pub stolen: bool,
}

/// A program's token that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiTokenRequest {
    /// What it is for: 1 to 63 of a-z, 0-9 and -.
    pub name: String,
    /// The role; at most that of whoever makes it.
    pub role: Role,
    /// The only permissions of that role that it holds; empty for all.
    #[serde(default)]
    pub scope: Vec<Permission>,
    /// How many days it lasts: 1 to 365.
    #[serde(default = "default_token_days")]
    pub days: u32,
}

/// A quarter: long enough for a program, short enough to be looked after.
const fn default_token_days() -> u32 {
    90
}

/// A program's token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApiTokenView {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Who made it.
    pub owner: String,
    /// Its role.
    pub role: Role,
    /// The only permissions that it holds; empty for all of the role.
    pub scope: Vec<Permission>,
    /// When it was made.
    pub created_at: Wall,
    /// Until when it lasts.
    pub ends: Wall,
    /// When it was last used, to within some minutes.
    pub used_at: Option<Wall>,
}

/// A new token: the secret is shown once and not kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NewApiTokenView {
    /// The token.
    pub token: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub view: ApiTokenView,
}
