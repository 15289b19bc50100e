//! `policy check` and `policy publish`: a bundle's text to the judge that will use it.
//!
//! The checker is the hub's (or a node's) own, so that what passes here is what the fleet accepts.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use wire::api::{CheckView, List, NodeState, NodeView, PublishView};
use wire::bundle::{BundleRef, MAX_BUNDLE_BYTES};

use crate::args::WaitFor;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::session::Session;

/// How long publishing waits when `--timeout` does not say: a bundle reaches a connected node within a second.
const SPREADING: Duration = Duration::from_secs(30);
/// Between two looks at the nodes.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// `sentinel policy check FILE`. Asks the hub, and a node of this machine when the hub is away.
pub async fn check(session: &Session, file: &Path, local: bool, output: &mut Output) -> Result<Exit, Failure> {
    let text = read(file)?;
    let mut sources = session.sources(local, None)?;
    if !local {
        sources.extend(session.nodes().into_iter().map(|(_, client)| client));
    }
    let mut silent = None;
    for client in &sources {
        match client.post_text::<CheckView>("/policies/check", text.clone()).await {
            Ok(view) => return checked(file, &view, output),
            Err(failure) if failure.is_unreachable() => {
                silent.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(silent.unwrap_or_else(|| Failure::new(Exit::Unreachable, "nobody can check it")))
}

fn checked(file: &Path, view: &CheckView, output: &mut Output) -> Result<Exit, Failure> {
    let name = file.display().to_string();
    output.one(view, &name, || match view.ok {
        true => passed(&name, view),
        false => problems(&name, view),
    })?;
    match view.ok {
        true => Ok(Exit::Ok),
        false => Ok(Exit::Failure),
    }
}

fn passed(file: &str, view: &CheckView) -> String {
    let mut text = match view.rules.len() {
        1 => format!("{file}: ok, 1 rule\n"),
        rules => format!("{file}: ok, {rules} rules\n"),
    };
    for rule in &view.rules {
        let mode = match rule.mode.as_str() {
            "enforce" => String::new(),
            other => format!(" ({other})"),
        };
        let _infallible = writeln!(text, "  {}{mode}: {}", rule.id, rule.text);
    }
    text
}

/// `FILE:LINE:COLUMN: field: message`, which editors jump to.
fn problems(file: &str, view: &CheckView) -> String {
    let mut text = String::new();
    for problem in &view.errors {
        text.push_str(file);
        if problem.line > 0 {
            let _infallible = write!(text, ":{}:{}", problem.line, problem.column);
        }
        text.push_str(": ");
        if !problem.field.is_empty() {
            let _infallible = write!(text, "{}: ", problem.field);
        }
        let _infallible = writeln!(text, "{}", problem.message);
    }
    text
}

/// `sentinel policy publish FILE`. Ends `timed out` when a node that was waited for does not have it in time.
pub async fn publish(session: &Session, file: &Path, wait: WaitFor, output: &mut Output) -> Result<Exit, Failure> {
    let text = read(file)?;
    let hub = session.hub()?;
    let view: CheckView = hub.post_text("/policies/check", text.clone()).await?;
    if !view.ok {
        return checked(file, &view, output);
    }
    let published: PublishView = hub.post_text("/policies", text).await?;
    let generation = published.bundle.generation;
    output.one(&published, &generation.to_string(), || {
        format!(
            "published as generation {generation}, digest {}\n",
            published.bundle.digest.short()
        )
    })?;
    let deadline = Instant::now() + session.timeout.unwrap_or(SPREADING);
    spread(&hub, published.bundle, wait, deadline).await
}

/// How far a bundle has come.
struct Spread {
    have: u64,
    total: u64,
    /// Waited for, and without it.
    late: Vec<String>,
    /// Not waited for, and without it.
    away: Vec<String>,
}

async fn spread(hub: &Client, bundle: BundleRef, wait: WaitFor, deadline: Instant) -> Result<Exit, Failure> {
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:30} {pos} of {len} nodes have it {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut told = None;
    loop {
        let spread = look(hub, bundle, wait).await?;
        bar.set_length(spread.total);
        bar.set_position(spread.have);
        bar.set_message(spread.late.join(", "));
        let done = spread.late.is_empty();
        if bar.is_hidden() && told != Some(spread.have) {
            told = Some(spread.have);
            say(&format!("{} of {} nodes have it", spread.have, spread.total));
        }
        if done {
            bar.finish_and_clear();
            say(&arrived(bundle, &spread));
            return Ok(Exit::Ok);
        }
        if Instant::now() >= deadline {
            bar.finish_and_clear();
            return Err(too_late(bundle, &spread));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

async fn look(hub: &Client, bundle: BundleRef, wait: WaitFor) -> Result<Spread, Failure> {
    let nodes: List<NodeView> = hub.get("/nodes").await?;
    let mut spread = Spread {
        have: 0,
        total: nodes.items.len() as u64,
        late: Vec::new(),
        away: Vec::new(),
    };
    for node in nodes.items {
        let connected = node.state == NodeState::Connected;
        let name = match connected {
            true => node.name.to_string(),
            false => format!("{} ({})", node.name, node.state.name().replace('_', " ")),
        };
        match (node.policy_generation >= bundle.generation, wait) {
            (true, _) => spread.have += 1,
            (false, WaitFor::All) => spread.late.push(name),
            (false, WaitFor::Connected) if connected => spread.late.push(name),
            (false, WaitFor::Connected | WaitFor::None) => spread.away.push(name),
        }
    }
    Ok(spread)
}

fn arrived(bundle: BundleRef, spread: &Spread) -> String {
    let active = format!(
        "generation {} is active on {} of {} nodes",
        bundle.generation, spread.have, spread.total
    );
    match spread.away.as_slice() {
        [] => active,
        away => format!("{active}; {} will get it", away.join(", ")),
    }
}

fn too_late(bundle: BundleRef, spread: &Spread) -> Failure {
    Failure::new(
        Exit::TimedOut,
        format!(
            "generation {} is published, and {} of {} nodes have it; not yet: {}",
            bundle.generation,
            spread.have,
            spread.total,
            spread.late.join(", ")
        ),
    )
    .still("a node goes on with the bundle that it has, and gets this one by itself when it is back")
    .advise("see how many have it: sentinel get policies; to wait for connected nodes only: --wait connected")
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let shown = file.display();
    let text = std::fs::read(file)
        .map_err(|cause| Failure::new(Exit::Usage, format!("cannot read `{shown}`")).because(cause))?;
    if text.len() > MAX_BUNDLE_BYTES {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "`{shown}` has {} bytes; a bundle has at most {MAX_BUNDLE_BYTES}",
                text.len()
            ),
        ));
    }
    Ok(text)
}
