//! `policy publish`: a bundle to the hub, and from there to every node.
//!
//! A text is checked and signed by the hub; a parcel was signed elsewhere, and the hub only adds its beacon.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use wire::api::{CheckView, List, NodeState, NodeView, PolicyView, PublishView, RolesView};
use wire::bundle::BundleRef;

use super::files::{self, Given};
use super::offline::checked;
use crate::args::WaitFor;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Output, few, say};
use crate::session::Session;

/// How long publishing waits when `--timeout` does not say: a bundle reaches a connected node within a second.
const SPREADING: Duration = Duration::from_secs(30);
/// Between two looks at the nodes.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// What is said when roles name no beacon key that the hub has.
const NO_BEACONS: &str = "the hub has no key of its beacon role, so that the policy of every agent ages: put the key into the hub's \
                          pki folder as beacon*.key, and publish the document once more";

/// What is said when roles name no policy key of the hub that alone may sign.
const NO_BUNDLES: &str = "the hub signs no bundles itself: publish signed ones (sentinel policy sign); or, where one signature is \
                          enough, put the key into the hub's pki folder as policy*.key, and publish the document once more";

/// `sentinel policy publish FILE`, or without a file the bundle to begin with. Ends `timed out` when a node that was waited for does
/// not have it in time.
pub async fn publish(
    session: &Session,
    file: Option<&Path>,
    wait: WaitFor,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let hub = session.hub()?;
    let given = match file {
        Some(file) => files::given(file)?,
        None => Given::Text(policy::STARTER_BUNDLE.as_bytes().to_vec()),
    };
    send(
        session,
        &hub,
        given,
        file.unwrap_or(Path::new("starter.yaml")),
        wait,
        output,
    )
    .await
}

/// `sentinel policy rollback GENERATION`: the earlier text under a new, higher generation, which is what nodes take.
pub async fn rollback(session: &Session, generation: u64, wait: WaitFor, output: &mut Output) -> Result<Exit, Failure> {
    let hub = session.hub()?;
    let all: List<PolicyView> = hub.get("/policies").await?;
    let known = || -> Vec<String> { all.items.iter().map(|policy| policy.generation.to_string()).collect() };
    let Some(earlier) = all.items.iter().find(|policy| policy.generation.0 == generation) else {
        let happened = format!("there is no generation {generation}; the hub has {}", few(&known()));
        return Err(Failure::new(Exit::NotFound, happened).advise("see them: sentinel get policies"));
    };
    if earlier.active {
        let happened = format!("generation {generation} is the active one");
        return Err(Failure::new(Exit::Conflict, happened));
    }
    let text = earlier.text.clone().into_bytes();
    let name = format!("generation-{generation}.yaml");
    send(session, &hub, Given::Text(text), Path::new(&name), wait, output).await
}

async fn send(
    session: &Session,
    hub: &Client,
    given: Given,
    file: &Path,
    wait: WaitFor,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let published: PublishView = match given {
        Given::Text(text) => {
            let view: CheckView = hub.post_text("/policies/check", text.clone()).await?;
            if !view.ok {
                return checked(file, &view, output);
            }
            hub.post_text("/policies", text).await?
        }
        Given::Parcel(parcel) => {
            if !parcel.roles.is_empty() {
                let view: RolesView = hub.post_bytes("/policies/roles", parcel.encode()).await?;
                say(&format!("the hub trusts role document {}", view.version));
                if view.signs_beacons == Some(false) {
                    say(NO_BEACONS);
                }
                if view.signs_bundles == Some(false) {
                    say(NO_BUNDLES);
                }
            }
            if parcel.bundle.is_none() {
                return Ok(Exit::Ok);
            }
            hub.post_bytes("/policies/signed", parcel.encode()).await?
        }
    };
    let generation = published.bundle.generation;
    output.one(&published, &generation.to_string(), || {
        format!(
            "published as generation {generation}, digest {}\n",
            published.bundle.digest.short()
        )
    })?;
    let deadline = Instant::now() + session.timeout.unwrap_or(SPREADING);
    spread(hub, published.bundle, wait, deadline).await
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
        bar.set_message(few(&spread.late));
        let done = spread.late.is_empty();
        if spread.total == 0 {
            bar.finish_and_clear();
            say("no node has joined yet; each gets it when it does: sentinel token create");
            return Ok(Exit::Ok);
        }
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
        away => format!("{active}; {} will get it", few(away)),
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
            few(&spread.late)
        ),
    )
    .still("a node goes on with the bundle that it has, and gets this one by itself when it is back")
    .advise("see how many have it: sentinel get policies; to wait for connected nodes only: --wait connected")
}
