//! Real servers behind a small proxy that obeys the weights of an HTTPRoute, and visitors who send requests through it.
//!
//! Pods of kwok run no containers, so whoever measures a canary needs something to measure: each part of a rollout has a server process
//! here (`sentinel-shop`), and the proxy reads from the API server how requests are divided, exactly as a gateway would.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::{KubeApi, ServiceError};

/// How long one watch of the route lasts before it is made again: nobody waits longer for the end of a proxy.
const WATCH: Duration = Duration::from_secs(2);
/// How long a connection may be silent.
const SILENT: Duration = Duration::from_secs(10);

/// A server process.
#[derive(Debug)]
pub struct Shop {
    child: Child,
    /// Its port on loopback.
    pub port: u16,
}

impl Shop {
    /// Starts one that takes about so long for each request, give or take `spread` percent, and fails so many of a thousand.
    ///
    /// The program has to lie beside the one that calls this, or a folder above: `cargo build -p testbed-services` puts it there.
    pub fn start(milliseconds: u64, spread: u64, failures: u64) -> Result<Self, ServiceError> {
        let program = beside("sentinel-shop")?;
        let numbers = [milliseconds, spread, failures].map(|number| number.to_string());
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&program)
            .args(numbers)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|cause| ServiceError::Run {
                program: program.display().to_string(),
                hint: "install util-linux",
                cause,
            })?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            let _an_early_end_is_an_empty_line = BufReader::new(out).read_line(&mut line);
        }
        match line.trim().strip_prefix("ready ").and_then(|port| port.parse().ok()) {
            Some(port) => Ok(Self { child, port }),
            None => Err(ServiceError::NotReady {
                name: "sentinel-shop".to_owned(),
                reason: format!("it said `{}`", line.trim()),
            }),
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _may_be_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn beside(name: &str) -> Result<PathBuf, ServiceError> {
    let here = std::env::current_exe().map_err(ServiceError::file("find", name))?;
    let found = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.ok_or_else(|| ServiceError::NotReady {
        name: name.to_owned(),
        reason: "it is not built: run `cargo build -p testbed-services --bins`, or `cargo xtask test build`".to_owned(),
    })
}

/// Weights as the route in the API server has them: (service, weight).
type Weights = Arc<Mutex<Vec<(String, u64)>>>;

/// A proxy that obeys a route, and its visitors. Ends when it is dropped.
#[derive(Debug)]
pub struct Gateway {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// How many requests each service got.
    pub served: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Gateway {
    /// Divides requests between services as the HTTPRoute `name` of namespace `default` says, and has `visitors` send one request after
    /// the other. Requests to a service without a port here are refused.
    pub fn start(
        api: KubeApi,
        name: &str,
        ports: BTreeMap<String, u16>,
        visitors: usize,
    ) -> Result<Self, ServiceError> {
        let (over, weights) = (Arc::new(AtomicBool::new(false)), Weights::default());
        let served = Arc::new(Mutex::new(BTreeMap::new()));
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ServiceError::file("listen on", "127.0.0.1"))?;
        let port = listener
            .local_addr()
            .map_err(ServiceError::file("listen on", "127.0.0.1"))?
            .port();
        let mut threads = vec![follow(api, name.to_owned(), Arc::clone(&weights), Arc::clone(&over))];
        threads.push(divide(listener, ports, weights, Arc::clone(&served), Arc::clone(&over)));
        threads.extend((0..visitors).map(|_| visit(port, Arc::clone(&over))));
        Ok(Self { over, threads, served })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _a_panic_was_printed = thread.join();
        }
    }
}

fn follow(api: KubeApi, name: String, weights: Weights, over: Arc<AtomicBool>) -> JoinHandle<()> {
    const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes";
    std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            // It ends with its time, and is made again.
            let _ended = api.watch(ROUTES, WATCH, |_, route| {
                if route["metadata"]["name"] == name.as_str() {
                    *weights.lock().unwrap_or_else(PoisonError::into_inner) = weights_of(route);
                }
                over.load(Ordering::Relaxed).then_some(())
            });
        }
    })
}

/// Weights of the first rule. Source: Gateway API, a weight that is not said is 1.
fn weights_of(route: &Value) -> Vec<(String, u64)> {
    let backends = route["spec"]["rules"][0]["backendRefs"]
        .as_array()
        .into_iter()
        .flatten();
    let weight = |backend: &Value| {
        Some((
            backend["name"].as_str()?.to_owned(),
            backend["weight"].as_u64().unwrap_or(1),
        ))
    };
    backends.filter_map(weight).collect()
}

fn divide(
    listener: TcpListener,
    ports: BTreeMap<String, u16>,
    weights: Weights,
    served: Arc<Mutex<BTreeMap<String, u64>>>,
    over: Arc<AtomicBool>,
) -> JoinHandle<()> {
    let turn = AtomicU64::new(0);
    std::thread::spawn(move || {
        std::thread::scope(|scope| {
            for visitor in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let chosen = choose(
                    &weights.lock().unwrap_or_else(PoisonError::into_inner),
                    turn.fetch_add(1, Ordering::Relaxed),
                );
                let Some((service, port)) = chosen.and_then(|service| Some((service.clone(), *ports.get(&service)?)))
                else {
                    continue;
                };
                *served
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(service)
                    .or_default() += 1;
                scope.spawn(move || drop(pass(&visitor, port)));
            }
        });
    })
}

/// Every hundred requests are divided exactly as the weights say, in turns that do not come in blocks.
fn choose(weights: &[(String, u64)], turn: u64) -> Option<String> {
    let all: u64 = weights.iter().map(|(_, weight)| weight).sum();
    // 37 has no divisor in common with 100, the usual sum of weights.
    let mut place = (turn * 37) % all.max(1);
    for (service, weight) in weights {
        if place < *weight {
            return Some(service.clone());
        }
        place -= weight;
    }
    None
}

fn pass(visitor: &TcpStream, port: u16) -> std::io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    for stream in [visitor, &server] {
        stream.set_read_timeout(Some(SILENT))?;
    }
    let mut request = BufReader::new(visitor);
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        std::io::Write::write_all(&mut &server, line.as_bytes())?;
        line.clear();
    }
    std::io::Write::write_all(&mut &server, b"\r\n")?;
    std::io::copy(&mut &server, &mut &*visitor)?;
    Ok(())
}

fn visit(port: u16, over: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(SILENT))
            .max_idle_connections(0)
            .build()
            .into();
        while !over.load(Ordering::Relaxed) {
            // Before the route is known nobody answers: the next one is tried at once.
            let _answered = agent.get(format!("http://127.0.0.1:{port}/")).call();
        }
        // The proxy waits for a visitor to see that it is over.
        let _woken = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_divided_as_the_weights_say() {
        let weights = [
            ("web".to_owned(), 60),
            ("canary".to_owned(), 20),
            ("baseline".to_owned(), 20),
        ];
        let mut counted: BTreeMap<String, u32> = BTreeMap::new();
        for turn in 0..1_000 {
            *counted
                .entry(choose(&weights, turn).expect("there are weights"))
                .or_default() += 1;
        }
        let of = |service: &str| counted.get(service).copied();
        assert_eq!(
            (of("web"), of("canary"), of("baseline")),
            (Some(600), Some(200), Some(200))
        );
        assert_eq!(choose(&[], 0), None);
    }
}
