//! `brain size` and `brain ran`: what an InfraMind that sizes builds says, and what it is told.

use std::path::Path;

use wire::api::{RunRequest, RunView, SizeRequest, SizeView};

use crate::args::Size;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::session::Session;

/// `sentinel brain size`.
pub async fn size(session: &Session, asked: &Size, output: &mut Output) -> Result<Exit, Failure> {
    let request = SizeRequest {
        pipeline: asked.pipeline.clone(),
        tool: asked.tool.clone(),
        last: asked.last,
        peak_memory_bytes: asked.peak_memory.map(|mib| u64::from(mib) << 20),
        steps: asked.steps,
        step_ms: asked
            .step
            .map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        most_concurrency: asked.most_concurrency,
        least_memory_gib: asked.least_memory,
    };
    let view: SizeView = session.hub()?.post("/sizing", &request, session.patience()).await?;
    output.one(&view, &view.id, || told(&view))?;
    Ok(Exit::Ok)
}

/// `sentinel brain ran`.
pub async fn ran(session: &Session, file: &Path, output: &mut Output) -> Result<Exit, Failure> {
    let wrong = |text: &str| Failure::new(Exit::Usage, format!("{text} `{}`", file.display()));
    let text = std::fs::read_to_string(file).map_err(|cause| wrong("cannot read").because(cause))?;
    let run: RunRequest = serde_json::from_str(&text).map_err(|cause| wrong("there is no run in").because(cause))?;
    let view: RunView = session.hub()?.post("/sizing/runs", &run, session.patience()).await?;
    output.one(&view, &view.id, || format!("✓ run {} of {}\n", view.id, run.pipeline))?;
    Ok(Exit::Ok)
}

fn told(view: &SizeView) -> String {
    let size = view.size;
    let mut text = format!(
        "{}: {} at once, {} cores, {} GiB, cache {} GiB\n{}\nit says that it is sure to {} %, and nothing here rests on that\n",
        view.pipeline,
        size.concurrency,
        size.cpus,
        size.memory_gib,
        view.cache_gib,
        view.rationale,
        view.claimed_bp / 100
    );
    for adjusted in &view.adjusted {
        text.push_str(&format!("changed: {adjusted}\n"));
    }
    text
}
