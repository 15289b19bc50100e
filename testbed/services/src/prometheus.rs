//! Prometheus: a real one on loopback, scraping what a test or the demo names.
//!
//! The program is Debian's (package `prometheus`); it keeps its data in a folder of its own and forgets it at the end.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::{Process, Progress, RunFolder, ServiceError, free_port, wait_until};

/// Time to be ready; a second is usual.
const READY: Duration = Duration::from_secs(60);

/// Something that is scraped.
#[derive(Debug, Clone)]
pub struct Scraped {
    /// Value of the label `workload` on everything that it exposes.
    pub workload: String,
    /// Its port on loopback; its page is at `/metrics`.
    pub port: u16,
}

/// A Prometheus that runs until it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    _server: Process,
    _folder: RunFolder,
}

impl Prometheus {
    /// Starts one that asks each of these every `every`. Blocks until it answers.
    pub fn start(
        name: &str,
        scraped: &[Scraped],
        every: Duration,
        progress: Progress<'_>,
    ) -> Result<Self, ServiceError> {
        let folder = RunFolder::make(name)?;
        let settings = folder.path().join("prometheus.yml");
        std::fs::write(&settings, config(scraped, every)).map_err(ServiceError::file("write", &settings))?;
        let port = free_port()?;
        let arguments = [
            format!("--config.file={}", settings.display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        progress("starting Prometheus");
        let program = Path::new("/usr/bin/prometheus");
        let mut server = Process::start("prometheus", program, &arguments, &[], folder.path())?;
        wait_until("prometheus (Debian package `prometheus`)", READY, || {
            server.alive()?;
            let answer = ureq::get(format!("http://127.0.0.1:{port}/-/ready")).call();
            Ok(answer.err().map(|error| error.to_string()))
        })?;
        Ok(Self {
            port,
            _server: server,
            _folder: folder,
        })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn config(scraped: &[Scraped], every: Duration) -> String {
    let milliseconds = every.as_millis();
    let mut text = format!(
        "global: {{ scrape_interval: {milliseconds}ms, scrape_timeout: {milliseconds}ms }}\nscrape_configs:\n- job_name: workloads\n  static_configs:\n"
    );
    for Scraped { workload, port } in scraped {
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "  - {{ targets: ['127.0.0.1:{port}'], labels: {{ workload: '{workload}' }} }}"
        );
    }
    text
}
