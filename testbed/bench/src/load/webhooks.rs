//! A forge's signed deliveries at a steady rate, a third of them duplicates: each is stored before it is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsConnector;

use super::{Options, Told};
use crate::intake::{connect, delivery, read};
use crate::lab::Lab;

/// Connections that they come on. Forges keep a few open.
const CONNECTIONS: u32 = 8;

/// Sends for the span; each delivery's time begins when it was due.
pub async fn send(lab: &Lab, options: &Options) -> Result<Told, String> {
    let mut told = Told::default();
    if options.deliveries == 0 {
        return Ok(told);
    }
    let connector = TlsConnector::from(Arc::new(crate::sessions::client_config()?));
    let all = u64::from(options.deliveries) * options.span.as_secs();
    let every = Duration::from_secs(1) / options.deliveries;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(lab, &connector).await?);
    }
    let begun = Instant::now() + Duration::from_millis(100);
    let mut running = tokio::task::JoinSet::new();
    for (first, mut stream) in (0..).zip(connections) {
        running.spawn(async move {
            let mut told = Told::default();
            let mut answer = Vec::new();
            for number in (first..all).step_by(CONNECTIONS as usize) {
                let due = begun + every * u32::try_from(number).unwrap_or(u32::MAX);
                tokio::time::sleep_until(due.into()).await;
                let failed = match stream.write_all(&delivery(number)).await {
                    Err(cause) => Some(cause.to_string()),
                    Ok(()) => read(&mut stream, &mut answer).await.err(),
                };
                if let Some(cause) = failed {
                    told.failed.push(format!("delivery {number}: {cause}"));
                    return told;
                }
                if answer.starts_with(b"HTTP/1.1 200") {
                    told.took_ms.push(due.elapsed().as_secs_f64() * 1e3);
                } else {
                    let said = String::from_utf8_lossy(&answer);
                    let said = said.lines().next().unwrap_or_default();
                    told.failed.push(format!("delivery {number}: {said}"));
                }
            }
            told
        });
    }
    while let Some(done) = running.join_next().await {
        let mut one = done.map_err(|cause| cause.to_string())?;
        told.took_ms.append(&mut one.took_ms);
        told.failed.append(&mut one.failed);
    }
    Ok(told)
}
