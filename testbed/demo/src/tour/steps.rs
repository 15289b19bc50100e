//! The steps of the tour, in order. A new one is a function and a line in [`STEPS`].

use std::path::Path;

use serde_json::Value;

use super::freeze::{now_ms, with_freeze};
use super::{DEMO_BUNDLE, STRICT_BUNDLE, Step, Tour, brain, carried, kube, person, text, thousandths, with_unit};
use crate::control::Verb;

/// Every step, with the seconds that it may take on a slow and busy machine.
pub const STEPS: &[Step] = &[
    Step::new("same start", 30, same_start),
    Step::new("grow", 10, brain::grow).beside(),
    Step::new("cut", 10, cut),
    Step::new("alone", 60, alone),
    Step::new("heat", 10, heat),
    Step::new("cap", 60, cap),
    Step::new("cap read back", 30, cap_read_back),
    // Memory takes as long to fill as a GPU to cool.
    Step::new("leak", 10, leak),
    Step::new("cooler", 90, cooler),
    Step::new("restart", 60, restart),
    Step::new("new process", 60, new_process),
    Step::new("publish", 60, publish),
    Step::new("why", 10, why),
    Step::new("not at the hub", 60, not_at_the_hub),
    Step::new("heal", 60, heal),
    Step::new("same bytes", 60, same_bytes),
    Step::new("verify", 60, verify),
    Step::new("new bundle", 60, new_bundle),
    Step::new("freeze", 30, person::freeze),
    Step::new("clamp", 60, person::clamp),
    Step::new("carried", 60, carried::carried),
    Step::new("own path", 60, carried::own_path),
    Step::new("foreseen", 180, brain::foreseen).beside(),
    Step::new("fulfilled", 120, brain::fulfilled).beside(),
    Step::new("why plan", 10, brain::why).beside(),
    Step::new("held", 30, brain::held),
    Step::new("permitted", 60, kube::permitted).in_cluster(),
    Step::new("scaled", 120, kube::scaled).in_cluster(),
    Step::new("placed", 120, kube::placed).in_cluster(),
    Step::new("refused", 60, kube::refused).in_cluster(),
    Step::new("taken back", 180, kube::taken_back).in_cluster(),
];

/// A state folder that is gone on with may have the stricter bundle already.
fn same_start(tour: &mut Tour<'_>) -> Result<(), String> {
    let policies = tour.sentinel().items("get policies")?;
    let active = policies.iter().find(|row| row["active"] == true);
    if active.is_none_or(|row| row["name"] != "demo") {
        publish_text(tour, "demo.yaml", DEMO_BUNDLE)?;
    }
    let row = tour.until(|| {
        let nodes = tour.sentinel().items("get nodes")?;
        let policies = tour.sentinel().items("get policies")?;
        let active = policies
            .into_iter()
            .find(|row| row["active"] == true)
            .ok_or("no policy is active")?;
        let late = nodes
            .iter()
            .filter(|node| node["policy_generation"] != active["generation"])
            .count();
        match late {
            0 => Ok(active),
            late => Err(format!("{late} nodes do not have the active policy yet")),
        }
    })?;
    tour.before = tour
        .decisions(true)?
        .iter()
        .map(|row| text(&row["id"]).to_owned())
        .collect();
    tour.screen.happened(
        "policy",
        &format!(
            "`{}` generation {}, signed by the hub, is active on every node",
            text(&row["name"]),
            row["generation"]
        ),
    );
    Ok(())
}

fn cut(tour: &mut Tour<'_>) -> Result<(), String> {
    tour.obey(Verb::Cut, None)?;
    tour.screen.happened(
        "cut",
        &format!("{}'s network path drops every packet, both ways", tour.node),
    );
    Ok(())
}

fn alone(tour: &mut Tour<'_>) -> Result<(), String> {
    let own = tour.until(|| {
        let own = tour.own()?;
        match text(&own["state"]) {
            "working_alone" => Ok(own),
            other => Err(format!("{} says that it is {other}", tour.node)),
        }
    })?;
    tour.show_at(
        &own["state_since"],
        "alone",
        &format!(
            "{} notices, and goes on: authority {}, policy generation {}, {} packets dropped",
            tour.node,
            text(&own["authority"]),
            own["policy_generation"],
            tour.cluster.dropped(&tour.node)
        ),
    );
    Ok(())
}

fn heat(tour: &mut Tour<'_>) -> Result<(), String> {
    let said = tour.obey(Verb::Heat, Some(0))?;
    tour.screen.happened(
        "heat",
        &format!("gpu0 (sim) of {} gets all the load that it can take", tour.node),
    );
    match said.contains("done") {
        true => Ok(()),
        false => Err(said),
    }
}

fn cap(tour: &mut Tour<'_>) -> Result<(), String> {
    let row = tour.until(|| tour.decided("power_cap"))?;
    tour.cap = text(&row["id"]).to_owned();
    if row["connected"] == true {
        return Err(format!("{} decided while it was connected", tour.cap));
    }
    let detail = tour.detail(&tour.cap)?;
    tour.show_at(
        &row["at"],
        "decided",
        &format!(
            "{} {} by rule {}, {}",
            tour.cap,
            text(&row["summary"]),
            text(&row["rule"]),
            because(&detail)
        ),
    );
    Ok(())
}

/// The comparison that set it off, in numbers.
fn because(detail: &Value) -> String {
    let clauses = detail["decision"]["judgement"]["clauses"].as_array();
    let over = clauses.and_then(|clauses| {
        clauses
            .iter()
            .find(|clause| text(&clause["what"]).contains("gpu.temperature"))
    });
    match over {
        Some(clause) => format!(
            "because {} {} {}",
            thousandths(&clause["observed"], "°C"),
            text(&clause["op"]),
            thousandths(&clause["limit"], "°C")
        ),
        None => "see `why` below".to_owned(),
    }
}

fn cap_read_back(tour: &mut Tour<'_>) -> Result<(), String> {
    let applied = tour.until(|| tour.outcome(&tour.cap, "applied"))?;
    tour.show_at(
        &applied["at"],
        "applied",
        &format!(
            "power cap of gpu0 (sim) was {}, read back is {}",
            thousandths(&applied["before"], "W"),
            thousandths(&applied["after"], "W")
        ),
    );
    Ok(())
}

fn cooler(tour: &mut Tour<'_>) -> Result<(), String> {
    let hot = temperature(&tour.own()?);
    let verified = tour.until(|| tour.outcome(&tour.cap, "verified"))?;
    let now = temperature(&tour.own()?);
    tour.show_at(
        &verified["at"],
        "verified",
        &format!(
            "gpu0 (sim) cools: {} after the cap, {} now; {}",
            with_unit(&hot, "°C"),
            with_unit(&now, "°C"),
            text(&verified["detail"])
        ),
    );
    match (hot.as_f64(), now.as_f64()) {
        (Some(hot), Some(now)) if now < hot => {}
        _ => return Err(format!("{hot} was not above {now}")),
    }
    tour.obey(Verb::Cool, Some(0)).map(drop)
}

fn temperature(node: &Value) -> Value {
    node["gpus"][0]["temperature_celsius"].clone()
}

fn leak(tour: &mut Tour<'_>) -> Result<(), String> {
    tour.old_pid = workload_pid(&tour.own()?)?;
    tour.obey(Verb::Leak, None)?;
    tour.screen.happened(
        "leak",
        &format!(
            "workload train of {}, process {}, leaks memory for real",
            tour.node, tour.old_pid
        ),
    );
    Ok(())
}

fn restart(tour: &mut Tour<'_>) -> Result<(), String> {
    let old = tour.old_pid;
    let row = tour.until(|| tour.decided("restart"))?;
    tour.restart = text(&row["id"]).to_owned();
    tour.show_at(
        &row["at"],
        "decided",
        &format!(
            "{} {} by rule {}, alone",
            tour.restart,
            text(&row["summary"]),
            text(&row["rule"])
        ),
    );
    let applied = tour.until(|| tour.outcome(&tour.restart, "applied"))?;
    let new = tour.until(|| match workload_pid(&tour.own()?)? {
        same if same == old => Err(format!("process {same} still runs")),
        new => Ok(new),
    })?;
    tour.show_at(
        &applied["at"],
        "restarted",
        &format!("workload train: process {old} is gone, process {new} runs"),
    );
    // The kernel is the witness.
    let runs = |pid: i64| Path::new(&format!("/proc/{pid}")).exists();
    match (runs(old), runs(new)) {
        (false, true) => Ok(()),
        (old_runs, new_runs) => Err(format!(
            "the kernel says: process {old} runs: {old_runs}, process {new} runs: {new_runs}"
        )),
    }
}

fn workload_pid(node: &Value) -> Result<i64, String> {
    node["workloads"][0]["pid"]
        .as_i64()
        .ok_or_else(|| "the node tells no process of its workload".to_owned())
}

fn new_process(tour: &mut Tour<'_>) -> Result<(), String> {
    let verified = tour.until(|| tour.outcome(&tour.restart, "verified"))?;
    let own = tour.own()?;
    let memory = own["workloads"][0]["memory_bytes"].as_i64().unwrap_or(0);
    tour.show_at(
        &verified["at"],
        "verified",
        &format!(
            "the new process uses {} MiB; {}",
            memory / (1024 * 1024),
            text(&verified["detail"])
        ),
    );
    Ok(())
}

fn publish(tour: &mut Tour<'_>) -> Result<(), String> {
    // Its freeze covers the present hour, whenever the tour is played.
    let bundle = with_freeze(STRICT_BUNDLE, now_ms());
    tour.generation = publish_text(tour, "demo-strict.yaml", &bundle)?;
    let nodes = tour.sentinel().items("get nodes")?;
    let have: Vec<&Value> = nodes
        .iter()
        .filter(|node| node["policy_generation"].as_u64() == Some(tour.generation))
        .collect();
    tour.screen.happened(
        "published",
        &format!(
            "a stricter bundle with a change freeze, generation {}: {} of {} nodes have it, {} is away",
            tour.generation,
            have.len(),
            nodes.len(),
            tour.node
        ),
    );
    match have.len() + 1 == nodes.len() && have.iter().all(|node| node["name"] != *tour.node) {
        true => Ok(()),
        false => Err("not exactly the nodes that are connected have it".to_owned()),
    }
}

/// Publishes, waits for the connected nodes, and returns the generation.
pub(super) fn publish_text(tour: &Tour<'_>, name: &str, bundle: &[u8]) -> Result<u64, String> {
    let path = tour.cluster.folder().path().join("config").join(name);
    std::fs::write(&path, bundle).map_err(|cause| format!("cannot write {}: {cause}", path.display()))?;
    let path = path.display().to_string();
    let words = ["policy", "publish", &path, "--wait", "connected", "-o", "json"];
    let said = tour.sentinel().run(words)?;
    if said.code != 0 {
        return Err(format!(
            "`sentinel policy publish` ended with {}: {}",
            said.code,
            said.err.trim()
        ));
    }
    let view: Value = serde_json::from_slice(&said.out)
        .map_err(|cause| format!("`sentinel policy publish` prints no JSON: {cause}"))?;
    view["bundle"]["generation"]
        .as_u64()
        .ok_or_else(|| format!("`sentinel policy publish` tells no generation: {view}"))
}

fn why(tour: &mut Tour<'_>) -> Result<(), String> {
    let line = format!("why {} --local", tour.cap);
    let explanation = tour.sentinel().text(&line)?;
    tour.screen.happened(
        "why",
        &format!("sentinel {line}   (the node itself answers, without the hub)"),
    );
    for line in String::from_utf8_lossy(&explanation).lines() {
        tour.screen.more(line);
    }
    Ok(())
}

fn not_at_the_hub(tour: &mut Tour<'_>) -> Result<(), String> {
    tour.until(|| match text(&tour.at_hub()?["state"]) {
        "working_alone" => Ok(()),
        other => Err(format!("the hub says that {} is {other}", tour.node)),
    })?;
    let said = tour.sentinel().say(&format!("why {}", tour.cap))?;
    if said.code != 3 {
        return Err(format!(
            "the hub should not know {} yet; exit status {}",
            tour.cap, said.code
        ));
    }
    tour.screen.happened(
        "hub",
        &format!("knows nothing of it, and says that {} is working alone", tour.node),
    );
    Ok(())
}

fn heal(tour: &mut Tour<'_>) -> Result<(), String> {
    tour.obey(Verb::Heal, None)?;
    tour.screen.happened(
        "heal",
        &format!(
            "packets of {} pass again; {} were dropped",
            tour.node,
            tour.cluster.dropped(&tour.node)
        ),
    );
    let row = tour.until(|| {
        let row = tour.at_hub()?;
        match text(&row["state"]) {
            "connected" => Ok(row),
            other => Err(format!("the hub says that {} is {other}", tour.node)),
        }
    })?;
    tour.show_at(&row["state_since"], "connected", &format!("{} is back", tour.node));
    Ok(())
}

fn same_bytes(tour: &mut Tour<'_>) -> Result<(), String> {
    let count = tour.until(|| {
        let (here, there) = (tour.decisions(true)?, tour.decisions(false)?);
        let digests = |rows: &[Value]| -> Vec<(String, String)> {
            let pair = |row: &Value| (text(&row["id"]).to_owned(), text(&row["digest"]).to_owned());
            rows.iter().map(pair).collect()
        };
        match digests(&here) == digests(&there) {
            true => Ok(here.len()),
            false => Err(format!(
                "the node lists {} decisions, the hub {}, and they are not the same yet",
                here.len(),
                there.len()
            )),
        }
    })?;
    let mut bytes = 0;
    for id in [&tour.cap, &tour.restart] {
        bytes += tour.until(|| {
            let here = tour.sentinel().text(&format!("why {id} --local"))?;
            let there = tour.sentinel().text(&format!("why {id}"))?;
            match here == there {
                true => Ok(here.len()),
                false => Err(format!("the hub explains {id} otherwise than the node")),
            }
        })?;
    }
    tour.screen.happened(
        "same",
        &format!("hub and node have the same {count} decisions by digest, and `why` gives the same {bytes} bytes"),
    );
    Ok(())
}

fn verify(tour: &mut Tour<'_>) -> Result<(), String> {
    let out = tour.until(|| {
        let said = tour.sentinel().say("verify")?;
        let out = String::from_utf8_lossy(&said.out).into_owned();
        match said.code {
            0 => Ok(out),
            _ => Err(format!("`sentinel verify` ended with {}\n{out}{}", said.code, said.err)),
        }
    })?;
    tour.screen
        .happened("verify", "every node's journal against the hub's store");
    for line in out.lines() {
        tour.screen.more(line);
    }
    Ok(())
}

fn new_bundle(tour: &mut Tour<'_>) -> Result<(), String> {
    tour.until(|| {
        let (own, there) = (tour.own()?, tour.at_hub()?);
        let generation = |row: &Value| row["policy_generation"].as_u64();
        match (generation(&own), generation(&there)) {
            (Some(here), Some(there)) if here == tour.generation && there == here => Ok(()),
            (here, there) => Err(format!(
                "{} has generation {here:?}, the hub says {there:?}, published is {}",
                tour.node, tour.generation
            )),
        }
    })?;
    tour.screen.happened(
        "policy",
        &format!("generation {} is active on {} too", tour.generation, tour.node),
    );
    Ok(())
}
