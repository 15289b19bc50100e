//! `agent` and `wire`: what one real agent costs its node, and its link, once everything is up.
//!
//! Memory and CPU stand beside prometheus-node-exporter scraped once a second; the limit is a program that only reads the same
//! kind of `/proc` files once a second. Bytes on the wire count every header both ways; their peer is the same scrape, compressed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::lab::{Lab, Place, Running};
use crate::machine::{cpu_percent, pause, resident_bytes};
use crate::report::{Figure, Goal};
use crate::tap::Tap;

const WARM: Duration = Duration::from_secs(20);
const MEASURED: Duration = Duration::from_secs(60);

/// Runs both.
pub fn run(place: &Place, bundle: &Path) -> Result<Vec<Figure>, String> {
    let lab = Lab::new(place, "agent", bundle)?;
    let tap = Tap::new(lab.address).map_err(|cause| cause.to_string())?;
    let node = lab.agent("agent-1", tap.address())?;
    let exporter = Exporter::start()?;
    let this = std::env::current_exe().map_err(|cause| cause.to_string())?;
    let mut floor = Command::new(this);
    floor.arg("--floor");
    let floor = Running::start(&mut floor, &place.work.join("floor.log"))?;
    pause(WARM);
    let series = lab
        .sentinel(&["describe", "node", "agent-1", "-o", "json"])
        .map(|text| text.matches("\"gpu").count())?;
    if series == 0 {
        return Err("the agent reports no GPU: it does not measure what it should".to_owned());
    }
    let (bytes_before, _) = tap.crossed();
    let (ours, peer_cpu, floor_cpu) = std::thread::scope(|scope| {
        let ours = scope.spawn(|| cpu_percent(node.running.pid(), MEASURED, || {}));
        let floor = scope.spawn(|| cpu_percent(floor.pid(), MEASURED, || {}));
        let peer = cpu_percent(exporter.pid(), MEASURED, || exporter.scrape());
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<f64, String>>| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a measuring thread panicked".to_owned()))
        };
        Ok::<_, String>((join(ours)?, peer?, join(floor)?))
    })?;
    let (bytes_after, _) = tap.crossed();
    let megabytes = |pid| resident_bytes(pid).map(|bytes| bytes as f64 / 1e6);
    let wire = (bytes_after - bytes_before) as f64 / MEASURED.as_secs_f64();
    Ok(vec![
        Figure::new("agent rss", "MB", megabytes(node.running.pid())?, Goal::AtMost(10.0))
            .peer("node_exporter", megabytes(exporter.pid())?)
            .limit("reading /proc alone", megabytes(floor.pid())?),
        Figure::new("agent cpu", "% core", ours, Goal::AtMost(0.2))
            .peer("node_exporter at 1 Hz", peer_cpu)
            .limit("reading /proc alone", floor_cpu),
        Figure::new("wire", "B/s", wire, Goal::AtMost(120.0)).peer("scrape at 1 Hz, gzip", exporter.bytes_per_scrape()),
    ])
}

/// Debian's prometheus-node-exporter.
pub struct Exporter {
    child: Child,
    port: u16,
}

impl Exporter {
    /// Starts it; it answers a little later.
    pub fn start() -> Result<Self, String> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .map_err(|cause| cause.to_string())?
            .port();
        let child = Command::new("prometheus-node-exporter")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|cause| {
                format!("cannot start prometheus-node-exporter (cargo xtask setup installs it): {cause}")
            })?;
        Ok(Self { child, port })
    }

    /// Where it is scraped.
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One scrape as Prometheus does it; returns the bytes that came back.
    pub fn scrape(&self) -> usize {
        let ask = || -> std::io::Result<usize> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.write_all(
                b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
            )?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)
        };
        ask().unwrap_or(0)
    }

    fn bytes_per_scrape(&self) -> f64 {
        self.scrape() as f64
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The limit: `sentinel-bench --floor` reads these files once a second and does nothing with them.
pub fn floor() -> Result<(), String> {
    const FILES: &[&str] = &[
        "/proc/stat",
        "/proc/meminfo",
        "/proc/loadavg",
        "/proc/vmstat",
        "/proc/diskstats",
        "/proc/net/dev",
        "/proc/net/snmp",
        "/proc/pressure/cpu",
        "/proc/pressure/memory",
        "/proc/pressure/io",
        "/proc/uptime",
        "/proc/self/stat",
    ];
    let mut files: Vec<File> = FILES.iter().filter_map(|path| File::open(path).ok()).collect();
    let mut buffer = vec![0; 64 * 1024];
    println!("ready");
    loop {
        for file in &mut files {
            // A file that cannot be read any more costs as much as one that can.
            drop(file.seek(SeekFrom::Start(0)));
            while file.read(&mut buffer).is_ok_and(|length| length > 0) {}
        }
        pause(Duration::from_secs(1));
    }
}
