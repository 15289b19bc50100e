//! `describe node`: everything about one node, as of when it was last heard.

use std::fmt::Write as _;

use wire::AgentId;
use wire::api::{FaultView, GlassView, Isolation, NeighbourView, NodeState, NodeView};
use wire::decision::Authority;
use wire::frame::Reach;
use wire::reading::{Unit, human};
use wire::time::{ClockError, ClockState};
use wire::view::span;

use crate::failure::{Exit, Failure};
use crate::output::{Output, Row};
use crate::rows::{ALONE, FAINT, GOOD, REDUCED, UNKNOWN, ago, state, time, value};
use crate::session::Session;
use crate::table::{Cell, Table};

/// `sentinel describe node NAME`. `gate`: the exit status says whether it is well.
pub async fn run(session: &Session, name: &AgentId, gate: bool, output: &mut Output) -> Result<Exit, Failure> {
    let node: NodeView = session.source(name)?.get(&format!("/nodes/{name}")).await?;
    output.one(&node, node.name.as_str(), || text(&node, session.is_local()))?;
    Ok(health(gate, [&node]))
}

/// What a gate ends with: degraded unless all of these are well.
pub fn health<'a>(gate: bool, nodes: impl IntoIterator<Item = &'a NodeView>) -> Exit {
    match gate && !nodes.into_iter().all(NodeView::is_well) {
        true => Exit::Degraded,
        false => Exit::Ok,
    }
}

/// `local`: the node itself says so, of now; a hub says what it heard last, so that the two may differ.
fn text(node: &NodeView, local: bool) -> String {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut row = |title: &str, cell: Cell| rows.push(vec![title.into(), cell]);
    row("name", node.name.as_str().into());
    row("site", node.site.as_str().into());
    row("labels", labels(node).into());
    row("state", state(node));
    row("healthy", healthy(node, local).into());
    if let Some(isolation) = node.isolation {
        row("cut off", isolated(isolation).into());
    }
    if !node.path.is_empty() {
        let path: Vec<&str> = node.path.iter().map(AgentId::as_str).collect();
        row("path", format!("{}, then the hub", path.join(", then ")).into());
    }
    row("since", or_dash(node.state_since.map(time)).into());
    let says = if local {
        "the node itself"
    } else {
        "the hub, by what it heard last"
    };
    row("as of", format!("{}, says {says}", as_of(node)).into());
    row("sync", sync(node).into());
    row("policy", policy(node).into());
    row("authority", authority(node).into());
    row("certificate", certificate(node).into());
    row("clock", clock(node).into());
    row("journal", journal(node).into());
    row("held", node.held_by.as_deref().unwrap_or("no").into());
    if let Some(open) = &node.break_glass {
        row("break-glass", Cell::styled(glass(open), REDUCED));
    }
    row("shut out", node.shut_out.as_deref().unwrap_or("no").into());
    row("quarantined", node.quarantined.as_deref().unwrap_or("no").into());
    row(
        "telemetry",
        format!("one sample each {}", span(u64::from(node.telemetry_interval_ms))).into(),
    );
    row(
        "cpu, memory",
        format!(
            "{}, {} used",
            value(node.cpu_used_bp, Unit::BasisPoints),
            value(node.memory_used_bp, Unit::BasisPoints)
        )
        .into(),
    );
    row("version", node.version.as_str().into());
    let mut text = Table::new(vec!["", ""], None).lines(&rows);
    // This table has no header: its first column is one.
    text = text
        .split_once('\n')
        .map(|(_, rest)| rest.to_owned())
        .unwrap_or_default();
    section(&mut text, "GPUs", &node.gpus);
    section(&mut text, "Workloads", &node.workloads);
    section(&mut text, "Last decisions", &node.last_decisions);
    if !node.faults.is_empty() {
        faults(&mut text, &node.faults);
    }
    if !node.neighbours.is_empty() {
        neighbours(&mut text, &node.neighbours);
    }
    text
}

fn section<T: Row>(text: &mut String, title: &str, rows: &[T]) {
    let _infallible = writeln!(text, "\n{title}");
    if rows.is_empty() {
        text.push_str("none\n");
        return;
    }
    let cells: Vec<Vec<Cell>> = rows.iter().map(|row| row.cells(false)).collect();
    text.push_str(&Table::new(T::header(false), None).lines(&cells));
}

fn glass(open: &GlassView) -> String {
    format!(
        "token {} open until {} ({} left), by {}, for {}{}",
        open.number,
        time(open.until),
        span(open.left_ms),
        open.approvers.join(" and "),
        open.kinds.join(", "),
        on(&open.targets)
    )
}

/// ` on gpu0, workload`, or nothing for everything.
pub fn on(targets: &[String]) -> String {
    match targets {
        [] => String::new(),
        targets => format!(" on {}", targets.join(", ")),
    }
}

/// How far a cut goes, in words.
fn isolated(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Node => "this node alone: a neighbour still reaches the hub",
        Isolation::Site => "the site: no member of it reaches the hub over a path of its own",
        Isolation::Hub => "the hub is away, for everybody",
        Isolation::Unknown => "it cannot be told how far: no neighbour is in touch",
    }
}

/// Faults of its devices: each with what it means, what shows it and what comes next.
fn faults(text: &mut String, faults: &[FaultView]) {
    text.push_str("\nFaults\n");
    for fault in faults {
        let state = match fault.over_at {
            Some(at) => format!("over since {}", time(at)),
            None => format!("next: {}", fault.advice),
        };
        let times = match fault.count {
            1 => String::new(),
            count => format!(", {count} times since {}", time(fault.since)),
        };
        let _infallible = writeln!(
            text,
            "{} {} on {}, {}{times}\n  {}\n  {state}\n  seen: {}",
            fault.severity.name(),
            fault.code,
            fault.device,
            time(fault.at),
            fault.meaning,
            fault.evidence,
        );
    }
}

/// The other members of the site, a line each.
fn neighbours(text: &mut String, neighbours: &[NeighbourView]) {
    text.push_str("\nNeighbours\n");
    let rows: Vec<Vec<Cell>> = neighbours.iter().map(neighbour).collect();
    let header = vec![
        "NAME",
        "SITE",
        "HUB",
        "HEARD",
        "AWAY",
        "LOST",
        "POLICY",
        "AUTHORITY",
        "CARRIED",
    ];
    text.push_str(&Table::new(header, None).lines(&rows));
}

fn neighbour(one: &NeighbourView) -> Vec<Cell> {
    let known = |text: String| if one.age_ms.is_some() { text } else { UNKNOWN.to_owned() };
    let reaches = match (one.in_touch, one.reach) {
        (false, _) => Cell::styled("○ out of touch", FAINT),
        (true, _) if one.too_narrow => Cell::styled("● path too small", REDUCED),
        (true, Reach::Direct) => Cell::styled("● reaches it", GOOD),
        (true, Reach::Carried) => {
            let via = one.via.as_ref().map_or("another", AgentId::as_str);
            Cell::styled(format!("● carried by {via}"), REDUCED)
        }
        (true, Reach::Alone) => Cell::styled("◐ works alone", ALONE),
    };
    let generation = match one.generation {
        0 => "none".to_owned(),
        generation => format!("gen {generation}"),
    };
    vec![
        one.name.as_str().into(),
        known(one.site.clone()).into(),
        reaches,
        ago(one.age_ms).into(),
        known(format!("{} ms", one.rtt_us.div_ceil(1_000))).into(),
        known(format!("{}.{} %", one.lost_per_mille / 10, one.lost_per_mille % 10)).into(),
        known(generation).into(),
        or_dash(one.authority.map(|authority| authority.name().to_owned())).into(),
        human(i64::try_from(one.carried_bytes).unwrap_or(i64::MAX), Unit::Bytes).into(),
    ]
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| UNKNOWN.to_owned())
}

fn as_of(node: &NodeView) -> String {
    match node.last_seen {
        Some(at) => format!("{} ({})", time(at), ago(node.age_ms)),
        None => "never heard".to_owned(),
    }
}

fn sync(node: &NodeView) -> String {
    let waiting = match node.backlog_entries {
        0 => "nothing waits for the hub".to_owned(),
        1 => "1 entry waits for the hub".to_owned(),
        more => format!("{more} entries wait for the hub"),
    };
    format!(
        "{waiting}; produced {}, stored {} (epoch {})",
        node.produced, node.stored, node.epoch
    )
}

fn policy(node: &NodeView) -> String {
    format!(
        "generation {}, digest {}, last proof of freshness {} ago",
        node.policy_generation,
        node.policy_digest.short(),
        span(node.policy_age_ms)
    )
}

fn authority(node: &NodeView) -> String {
    let next = match node.authority {
        Authority::Full => Some(Authority::Reversible),
        Authority::Reversible => Some(Authority::Protective),
        Authority::Protective => Some(Authority::Observe),
        Authority::Observe => None,
    };
    match (next, node.next_authority_in_ms) {
        (Some(next), Some(in_ms)) => format!(
            "{}; {} in {} if nothing fresh arrives",
            node.authority.name(),
            next.name(),
            span(in_ms)
        ),
        _ => format!("{}; no lower step follows", node.authority.name()),
    }
}

fn certificate(node: &NodeView) -> String {
    let rejoined = match node.rejoins {
        0 => "never rejoined".to_owned(),
        1 => "rejoined once by its node key".to_owned(),
        more => format!("rejoined {more} times by its node key"),
    };
    match node.certificate_ends {
        Some(ends) => format!("ends {}; {rejoined}", time(ends)),
        None => "none known: a node that never joined has none".to_owned(),
    }
}

fn labels(node: &NodeView) -> String {
    let labels = node.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let labels: Vec<String> = labels.collect();
    match labels.is_empty() {
        true => "none".to_owned(),
        false => labels.join(", "),
    }
}

/// By its own word; to a hub, a node that is away has said nothing.
fn healthy(node: &NodeView, local: bool) -> String {
    let waits = match node.waits_for_turn {
        true => "; an action waits for its turn: sentinel get domains",
        false => "",
    };
    match (&node.unhealthy, node.state) {
        _ if !node.findings.is_empty() => format!("no: {}{waits}", node.findings.join("; ")),
        (Some(why), _) => format!("no: {why}{waits}"),
        (None, NodeState::Connected) => format!("yes{waits}"),
        (None, _) if local => format!("yes{waits}"),
        (None, _) => "not reported: it counts as unhealthy while it is away".to_owned(),
    }
}

fn clock(node: &NodeView) -> String {
    let state = match node.clock {
        ClockState::Steady => "steady",
        ClockState::Stepped => "stepped since start",
        ClockState::BehindFloor => "wrong: behind a time that has certainly passed",
    };
    match node.clock_error {
        Some(ClockError::WithinMs(ms)) => format!("{state}, ± {} against the hub", span(ms)),
        Some(ClockError::NotCompared) => format!("{state}, not compared with a hub since the start"),
        None => state.to_owned(),
    }
}

fn journal(node: &NodeView) -> String {
    let bytes = |bytes: u64| human(i64::try_from(bytes).unwrap_or(i64::MAX), Unit::Bytes);
    let accepts = match (node.journal_ok, node.state) {
        (true, _) => "accepts entries",
        (false, NodeState::Unknown) => "not reported",
        (false, _) => "accepts no entries: only protective actions run",
    };
    let unrecorded = match node.unrecorded_actions {
        0 => String::new(),
        some => format!("; {some} protective actions not yet recorded"),
    };
    format!(
        "{accepts}; {} of {}{unrecorded}",
        bytes(node.journal_bytes),
        bytes(node.journal_limit_bytes)
    )
}
