//! `break-glass`: a token that two people sign, and that opens what rules hold back on a node.
//!
//! The node judges a token by the policy keys that it trusts; this writes, shows and carries it. Nothing is signed that every node
//! would refuse. Invariant: no key signs the same token twice here.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use wire::api::{GlassSentView, GlassView, List};
use wire::breakglass::{APPROVERS, MAX_TOKEN_BYTES};
use wire::bundle::KeyRing;
use wire::ids::KeyId;
use wire::view::span;
use wire::{BreakGlass, BreakGlassPayload, Wall};

use super::files;
use super::keys::{self, now};
use crate::args;
use crate::client::{Client, escaped};
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::rows::time;
use crate::session::Session;
use crate::verbs::describe::on;

/// The verbs that need neither hub nor context.
pub fn offline(what: &args::BreakGlass, output: &mut Output) -> Result<Exit, Failure> {
    match what {
        args::BreakGlass::Make(make) => self::make(make, output),
        args::BreakGlass::Approve { file, key, roles } => approve(file, key, roles.as_deref(), output),
        args::BreakGlass::Show { file, roles } => show(file, roles.as_deref(), output),
        args::BreakGlass::Open { .. } | args::BreakGlass::Close { .. } => Err(Failure::new(
            Exit::Usage,
            "this verb asks a hub or a node: give a context with --context, or --socket PATH",
        )),
    }
}

/// The verbs that ask a node or a hub.
pub async fn asked(session: &Session, what: &args::BreakGlass, output: &mut Output) -> Result<Exit, Failure> {
    match what {
        args::BreakGlass::Open { file, node: None } if !session.is_local() => send(session, file, output).await,
        args::BreakGlass::Open { file, node } => open(&session.one_node(node.as_ref())?, file, output).await,
        args::BreakGlass::Close { node, reason } => close(&session.one_node(node.as_ref())?, reason, output).await,
        other => offline(other, output),
    }
}

/// `sentinel policy break-glass make`.
fn make(make: &args::Make, output: &mut Output) -> Result<Exit, Failure> {
    let roles = match &make.trust_domain {
        Some(_) => None,
        None => files::roles_of(make.roles.as_deref(), &make.key),
    };
    let ring = roles.as_deref().map(policy_ring).transpose()?;
    let trust_domain = match (&make.trust_domain, &ring) {
        (Some(said), _) => said.clone(),
        (None, Some((_, domain))) => domain.clone(),
        (None, None) => return Err(files::no_trust_domain(&make.key)),
    };
    let issued_at = now();
    let payload = BreakGlassPayload {
        number: make.number.unwrap_or(u64::try_from(issued_at.0).unwrap_or(1).max(1)),
        trust_domain,
        nodes: make.node.iter().map(ToString::to_string).collect(),
        targets: make.target.iter().map(ToString::to_string).collect(),
        kinds: make.kind.clone(),
        open_for_ms: u64::try_from(make.open_for.as_millis()).unwrap_or(u64::MAX),
        issued_at,
        reason: make.reason.clone(),
    };
    if let Some(problem) = policy::glass_problem(&payload) {
        return Err(Failure::new(Exit::Usage, format!("no node would open this: {problem}")));
    }
    let key = files::key(&make.key)?;
    let id = KeyId::of(key.verifying_key().as_bytes());
    counts(ring.as_ref(), &make.key, id)?;
    let token = BreakGlass::sign(&payload, &key);
    let bytes = token.encode();
    if bytes.len() > MAX_TOKEN_BYTES {
        let happened = format!("the token has {} bytes; it has at most {MAX_TOKEN_BYTES}", bytes.len());
        return Err(Failure::new(Exit::Usage, happened).advise("name fewer nodes and targets, or a shorter reason"));
    }
    files::write_new(&make.out, &bytes, 0o644)?;
    told(&make.out, &token, output)
}

/// `sentinel policy break-glass approve FILE --key KEY`.
fn approve(file: &Path, key_file: &Path, roles: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let mut token = read(file)?;
    let key = files::key(key_file)?;
    let id = KeyId::of(key.verifying_key().as_bytes());
    if token.named().contains(&id) {
        let happened = format!(
            "key {id} of `{}` has signed `{}` already: a token needs {APPROVERS} different people",
            key_file.display(),
            file.display()
        );
        return Err(Failure::new(Exit::Conflict, happened).advise(
            "another person signs it, with their own policy key: sentinel policy break-glass approve FILE --key THEIRS",
        ));
    }
    let ring = files::roles_of(roles, key_file)
        .as_deref()
        .map(policy_ring)
        .transpose()?;
    counts(ring.as_ref(), key_file, id)?;
    // Nobody signs what no node would open.
    let look = Look::of(&token, peek(file, &token)?, ring.as_ref());
    if let Some(problem) = look.problems.first() {
        return Err(Failure::new(Exit::Usage, format!("no node would open this: {problem}")));
    }
    token.countersign(&key);
    files::write_over(file, &token.encode())?;
    told(file, &token, output)
}

fn told(file: &Path, token: &BreakGlass, output: &mut Output) -> Result<Exit, Failure> {
    let look = Look::of(token, peek(file, token)?, None);
    output.one(&look, &file.display().to_string(), || look.text(file))?;
    match look.enough {
        true => say("bring it to a node: sentinel policy break-glass open FILE --node NODE"),
        false => say("not enough yet: another person signs with `sentinel policy break-glass approve FILE --key KEY`"),
    }
    Ok(Exit::Ok)
}

/// `sentinel policy break-glass show FILE`.
fn show(file: &Path, roles: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let token = read(file)?;
    let ring = roles.map(policy_ring).transpose()?;
    let look = Look::of(&token, peek(file, &token)?, ring.as_ref());
    output.one(&look, &file.display().to_string(), || look.text(file))?;
    match look.enough && look.problems.is_empty() {
        true => Ok(Exit::Ok),
        false => Ok(Exit::Failure),
    }
}

/// `sentinel policy break-glass open FILE`.
async fn open(client: &Client, file: &Path, output: &mut Output) -> Result<Exit, Failure> {
    // A torn copy is told here, with the file's name.
    let token = read(file)?;
    let view: GlassView = client.post_bytes("/break-glass", token.encode()).await?;
    output.one(&view, &view.number.to_string(), || opened(&view))?;
    say(&format!(
        "to close it before that: sentinel policy break-glass close --node {} --reason TEXT",
        view.node
    ));
    Ok(Exit::Ok)
}

/// The same through the hub: it sends the token to the nodes that it names, and each of them judges it.
async fn send(session: &Session, file: &Path, output: &mut Output) -> Result<Exit, Failure> {
    let token = read(file)?;
    // The hub waits for the nodes' answers.
    let client = session.hub()?.patient(session.patience() * 4);
    let sent: List<GlassSentView> = client.post_bytes("/break-glass", token.encode()).await?;
    output.one(&sent, &file.display().to_string(), || {
        let lines = sent.items.iter().map(|one| match one.status.as_str() {
            "done" => format!("✓ {}: open\n", one.node),
            status => format!("✕ {}: {status}: {}\n", one.node, one.detail),
        });
        lines.collect()
    })?;
    let is = |status: &str| sent.items.iter().any(|one| one.status == status);
    Ok(match (is("refused"), is("waiting"), is("unreached")) {
        (true, ..) => Exit::Conflict,
        (_, true, _) => Exit::TimedOut,
        (_, _, true) => Exit::Unreachable,
        (false, false, false) => Exit::Ok,
    })
}

fn opened(view: &GlassView) -> String {
    let because = view
        .reason
        .as_ref()
        .map_or(String::new(), |reason| format!(": {reason}"));
    format!(
        "{}: break-glass token {} is open until {} for {}{}, by {}{because}\n",
        view.node,
        view.number,
        time(view.until),
        view.kinds.join(", "),
        on(&view.targets),
        view.approvers.join(" and ")
    )
}

/// `sentinel policy break-glass close`.
async fn close(client: &Client, reason: &str, output: &mut Output) -> Result<Exit, Failure> {
    let view: GlassView = client
        .delete(&format!("/break-glass?reason={}", escaped(reason)))
        .await?;
    output.one(&view, &view.number.to_string(), || {
        format!(
            "{}: break-glass token {} is closed, {} before its time\n",
            view.node,
            view.number,
            span(view.left_ms)
        )
    })?;
    Ok(Exit::Ok)
}

fn read(file: &Path) -> Result<BreakGlass, Failure> {
    let bytes = files::read(file, MAX_TOKEN_BYTES)?;
    BreakGlass::decode(&bytes)
        .map_err(|cause| Failure::new(Exit::Usage, format!("`{}` cannot be used", file.display())).because(cause))
}

fn peek(file: &Path, token: &BreakGlass) -> Result<BreakGlassPayload, Failure> {
    token.peek().map_err(|cause| {
        Failure::new(Exit::Usage, format!("the token in `{}` cannot be read", file.display())).because(cause)
    })
}

/// The policy keys of role documents, and their trust domain.
fn policy_ring(roles: &Path) -> Result<(KeyRing, String), Failure> {
    let newest = keys::newest(roles, &files::parcel(roles)?)?;
    Ok((newest.policy.ring, newest.trust_domain))
}

/// Refuses a key that is known to open nothing.
fn counts(ring: Option<&(KeyRing, String)>, file: &Path, id: KeyId) -> Result<(), Failure> {
    let Some((ring, _)) = ring else { return Ok(()) };
    let known: Vec<KeyId> = ring.keys.iter().map(KeyId::of).collect();
    if known.contains(&id) {
        return Ok(());
    }
    let known: Vec<String> = known.iter().map(ToString::to_string).collect();
    let happened = format!(
        "key {id} of `{}` is no policy key; these are: {}",
        file.display(),
        known.join(", ")
    );
    Err(Failure::new(Exit::Usage, happened).advise("sentinel policy keys list shows which keys count"))
}

/// What a token opens, and whether a node would take it.
#[derive(Serialize)]
struct Look {
    /// Whether enough different keys have signed; whether they count is known with role documents only.
    enough: bool,
    number: u64,
    trust_domain: String,
    /// All if empty.
    nodes: Vec<String>,
    kinds: Vec<String>,
    /// All if empty.
    targets: Vec<String>,
    reason: String,
    issued_at: Wall,
    until: Wall,
    signed_by: Vec<KeyId>,
    needed: usize,
    /// Whether the signatures were held against role documents.
    checked: bool,
    problems: Vec<String>,
}

impl Look {
    fn of(token: &BreakGlass, payload: BreakGlassPayload, ring: Option<&(KeyRing, String)>) -> Self {
        let until = Wall(payload.issued_at.0.saturating_add_unsigned(payload.open_for_ms));
        let mut problems: Vec<String> = policy::glass_problem(&payload).into_iter().collect();
        if until <= now() {
            problems.push(format!("it was over at {}: make a new one", time(until)));
        }
        let mut needed = APPROVERS;
        let named = token.named();
        let signed_by = match ring {
            None => named,
            Some((ring, domain)) => {
                needed = needed.max(usize::from(ring.threshold));
                if *domain != payload.trust_domain {
                    problems.push(format!(
                        "it is for trust domain `{}`, and the role documents are of `{domain}`",
                        payload.trust_domain
                    ));
                }
                let signers = token.signers(ring);
                let worthless = named.iter().filter(|id| !signers.contains(id));
                problems.extend(worthless.map(|id| format!("the signature of key {id} does not count")));
                signers
            }
        };
        Self {
            enough: signed_by.len() >= needed,
            number: payload.number,
            trust_domain: payload.trust_domain,
            nodes: payload.nodes,
            kinds: payload.kinds,
            targets: payload.targets,
            reason: payload.reason,
            issued_at: payload.issued_at,
            until,
            signed_by,
            needed,
            checked: ring.is_some(),
            problems,
        }
    }

    /// For people.
    fn text(&self, file: &Path) -> String {
        let word = match (self.problems.is_empty(), self.enough) {
            (false, _) => "not acceptable",
            (true, false) => "not signed by enough people",
            (true, true) => "signed by enough people",
        };
        let all = |names: &[String], all: &str| match names {
            [] => all.to_owned(),
            names => names.join(", "),
        };
        let signers: Vec<String> = self.signed_by.iter().map(ToString::to_string).collect();
        let checked = match self.checked {
            true => "",
            false => " (whether these keys count: give --roles)",
        };
        let mut text = format!("{}: {word}\n", file.display());
        for (name, value) in [
            ("token", self.number.to_string()),
            ("trust domain", self.trust_domain.clone()),
            ("nodes", all(&self.nodes, "every node")),
            ("kinds", self.kinds.join(", ")),
            ("targets", all(&self.targets, "every device")),
            ("open until", time(self.until)),
            ("reason", self.reason.clone()),
            (
                "signed by",
                format!(
                    "{} of {} needed: {}{checked}",
                    signers.len(),
                    self.needed,
                    signers.join(", ")
                ),
            ),
        ] {
            let _infallible = writeln!(text, "  {name:13} {value}");
        }
        for problem in &self.problems {
            let _infallible = writeln!(text, "  ✕ {problem}");
        }
        text
    }
}
