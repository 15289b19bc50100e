//! The headline benchmarks: `sentinel-bench --programs DIR --work DIR [--json] [NAME…] [-- OPTIONS]`, run by `cargo xtask bench`.
//! What stands after `--` is for one of them: `--series FILE.csv…` of `forecast` and `scaling`, `--pods FILE --nodes FILE` of `placement`,
//! `--seconds N` of `intake`.
//!
//! `sentinel-bench load --programs DIR --work DIR …`, run by `cargo xtask load`, is no benchmark: see `load.rs`.
//!
//! Each figure stands beside its peer and its limit of the same run on the same machine; ratios hold where absolute numbers do not.
//! Exit status 0 when every goal is reached, 8 when one is not, 1 when a benchmark could not be run.

mod act;
mod agent;
mod brain_link;
mod brain_trust;
mod canary;
mod classify;
mod decide;
mod drain;
mod fleet;
mod forecast;
mod gpu_box;
mod intake;
mod lab;
mod load;
mod machine;
mod mesh;
mod placement;
mod plans;
mod postgres;
mod reconnect;
mod report;
mod scaling;
mod scrape;
mod sessions;
mod sim;
mod sync;
mod tap;
mod what_if;

use std::path::PathBuf;
use std::process::ExitCode;

use lab::Place;
use report::Figure;

/// The benchmarks, in the order in which they run.
const NAMES: &[&str] = &[
    "sim",
    "sync",
    "sessions",
    "agent",
    "scrape",
    "act",
    "gpu-box",
    "drain",
    "reconnect",
    "mesh",
    "decide",
    "what-if",
    "canary",
    "placement",
    "classify",
    "intake",
    "forecast",
    "scaling",
    "brain-trust",
    "plans",
    "postgres",
    "brain-link",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
    {
        Ok(runtime) => runtime,
        Err(cause) => {
            eprintln!("cannot start a runtime: {cause}");
            return ExitCode::FAILURE;
        }
    };
    let result = match arguments.first().map(String::as_str) {
        // Limits that need a process of their own.
        Some("--serve-tls") => runtime.block_on(sessions::serve_tls()).map(|()| ExitCode::SUCCESS),
        Some("--forward") => mesh::forward(arguments.get(1)).map(|()| ExitCode::SUCCESS),
        Some("--floor") => agent::floor().map(|()| ExitCode::SUCCESS),
        Some("load") => load(&runtime, &arguments[1..]).map(|()| ExitCode::SUCCESS),
        _ => run(&runtime, &arguments),
    };
    result.unwrap_or_else(|reason| {
        eprintln!("sentinel-bench: {reason}");
        ExitCode::FAILURE
    })
}

fn load(runtime: &tokio::runtime::Runtime, arguments: &[String]) -> Result<(), String> {
    let [of_programs, programs, of_work, work, rest @ ..] = arguments else {
        return Err("`load --programs DIR --work DIR` is missing: run this through `cargo xtask load`".to_owned());
    };
    if (of_programs.as_str(), of_work.as_str()) != ("--programs", "--work") {
        return Err("`load` wants --programs DIR --work DIR first: run it through `cargo xtask load`".to_owned());
    }
    let place = Place {
        programs: PathBuf::from(programs),
        work: PathBuf::from(work),
    };
    runtime.block_on(load::run(&place, &load::Options::read(rest)?))
}

fn run(runtime: &tokio::runtime::Runtime, arguments: &[String]) -> Result<ExitCode, String> {
    let (mut programs, mut work, mut json, mut names) = (None, None, false, Vec::new());
    let (mut pods, mut nodes) = (None, None);
    let mut seconds = intake::SECONDS;
    let mut series: Vec<PathBuf> = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--programs" => programs = words.next().map(PathBuf::from),
            "--work" => work = words.next().map(PathBuf::from),
            "--json" => json = true,
            // What `cargo xtask bench` hands on after it.
            "--" => {}
            "--seconds" => {
                let number = words
                    .next()
                    .and_then(|word| word.parse().ok())
                    .filter(|seconds| *seconds > 0);
                seconds = number.ok_or("--seconds wants a number above 0")?;
            }
            "--series" => series.push(words.next().ok_or("--series is missing its FILE.csv")?.into()),
            "--pods" => pods = Some(words.next().ok_or("--pods wants a file")?.as_str()),
            "--nodes" => nodes = Some(words.next().ok_or("--nodes wants a file")?.as_str()),
            name if NAMES.contains(&name) => names.push(name),
            // `wire` comes with `agent`: both look at the same node.
            "wire" => names.push("agent"),
            other => {
                return Err(format!(
                    "no benchmark `{other}`; there are {} and wire",
                    NAMES.join(", ")
                ));
            }
        }
    }
    let programs = programs.ok_or("--programs DIR is missing: run this through `cargo xtask bench`")?;
    let work = work.ok_or("--work DIR is missing: run this through `cargo xtask bench`")?;
    let place = Place { programs, work };
    let bundle = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policy/bundles/demo.yaml");
    let mut figures: Vec<Figure> = Vec::new();
    let mut broken = false;
    for name in NAMES.iter().filter(|name| names.is_empty() || names.contains(name)) {
        if !json {
            eprintln!("running {name} …");
        }
        let found = match *name {
            "sim" => sim::run(),
            "sync" => runtime.block_on(sync::run(&place, &bundle)),
            "sessions" => runtime.block_on(sessions::run(&place, &bundle)),
            "agent" => agent::run(&place, &bundle),
            "scrape" => scrape::run(&place),
            "act" => act::run(&place),
            "gpu-box" => gpu_box::run(&place),
            "drain" => drain::run(&place),
            "reconnect" => runtime.block_on(reconnect::run(&place, &bundle)),
            "mesh" => runtime.block_on(mesh::run(&place, &bundle)),
            "decide" => decide::run(),
            "what-if" => what_if::run(),
            "canary" => canary::run(),
            "placement" => placement::run(pods, nodes),
            "classify" => classify::run(),
            "intake" => runtime.block_on(intake::run(&place, &bundle, seconds)),
            "forecast" => forecast::run(&series),
            "scaling" => scaling::run(&series),
            "brain-trust" => brain_trust::run(),
            "plans" => plans::run(&place),
            "postgres" => postgres::run(runtime),
            "brain-link" => runtime.block_on(brain_link::run(&place)),
            other => Err(format!("`{other}` has no body")),
        };
        match found {
            Ok(found) => figures.extend(found),
            Err(reason) => {
                broken = true;
                eprintln!("{name}: {reason}");
            }
        }
    }
    report::print(&figures, json);
    Ok(match (broken, figures.iter().all(|figure| figure.ok)) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(8),
    })
}
