//! People and scripts: each connection asks for the next page of the mix as soon as it has the one before.

use std::collections::BTreeMap;
use std::time::Instant;

use super::web::{Context, Line};
use super::{Options, Told};
use crate::lab::Lab;

/// What is asked, as often as it stands here: mostly the lists that the console opens with.
const MIX: &[&str] = &[
    "/api/v1/nodes?limit=50",
    "/api/v1/decisions?limit=50",
    "/api/v1/nodes?limit=50",
    "/api/v1/audits?limit=50",
    "/api/v1/domains",
    "/metrics",
];

/// Asks for the span; what came of each path.
pub async fn ask(lab: &Lab, options: &Options) -> Result<BTreeMap<&'static str, Told>, String> {
    let context: Context = lab.context()?;
    let mut running = tokio::task::JoinSet::new();
    let end = Instant::now() + options.span;
    for client in 0..options.clients {
        let context = context.clone();
        running.spawn(async move {
            let mut line = Line::open(&context).await?;
            let mut told: BTreeMap<&'static str, Told> = BTreeMap::new();
            for path in MIX.iter().cycle().skip(client) {
                let begun = Instant::now();
                if begun >= end {
                    break;
                }
                let told = told.entry(path).or_default();
                match line.get(path).await {
                    Ok(200) => told.took_ms.push(begun.elapsed().as_secs_f64() * 1e3),
                    Ok(status) => told.failed.push(format!("GET {path}: {status}")),
                    Err(cause) => {
                        told.failed.push(format!("GET {path}: {cause}"));
                        line = Line::open(&context).await?;
                    }
                }
            }
            Ok::<_, String>(told)
        });
    }
    let mut all: BTreeMap<&'static str, Told> = BTreeMap::new();
    while let Some(done) = running.join_next().await {
        for (path, mut told) in done.map_err(|cause| cause.to_string())?? {
            let sum = all.entry(path).or_default();
            sum.took_ms.append(&mut told.took_ms);
            sum.failed.append(&mut told.failed);
        }
    }
    Ok(all)
}
