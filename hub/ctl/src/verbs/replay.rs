//! `replay`: whether the recorded inputs still give the recorded judgement, bit for bit.

use std::fmt::Write as _;

use wire::api::ReplayView;

use crate::args::Replay;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::session::Session;

/// `sentinel replay ID`. Ends `degraded` when the judgements differ.
pub async fn run(session: &Session, replay: &Replay, output: &mut Output) -> Result<Exit, Failure> {
    let node = replay.node.as_ref().unwrap_or(&replay.id.agent);
    let view: ReplayView = session
        .source(node)?
        .get(&format!("/decisions/{}/replay", replay.id))
        .await?;
    output.one(&view, &view.id.to_string(), || text(&view))?;
    match view.identical {
        true => Ok(Exit::Ok),
        false => Ok(Exit::Degraded),
    }
}

fn text(view: &ReplayView) -> String {
    let bundle = format!(
        "bundle generation {}, digest {}",
        view.bundle.generation,
        view.bundle.digest.short()
    );
    if view.identical {
        return format!(
            "identical: {} recomputed from the journal with {bundle} gives the same bytes, digest {}\n",
            view.id,
            view.recomputed.short()
        );
    }
    let mut text = format!(
        "different: {} recomputed from the journal with {bundle} gives digest {}, recorded is {}\n",
        view.id,
        view.recomputed.short(),
        view.recorded.short()
    );
    for difference in &view.differences {
        let _infallible = writeln!(text, "  {difference}");
    }
    text
}
