//! `sentinel-shop MILLISECONDS SPREAD_PERCENT FAILURES_PER_THOUSAND`: a small web server that takes about so long for each request, and
//! exposes what it measured.
//!
//! What a container would be in a pod that really ran. Prints `ready PORT`; `/metrics` is in Prometheus's text format, everything else
//! is a request. Ends with whoever started it.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [milliseconds, spread, failures] = numbers[..] else {
        eprintln!("usage: sentinel-shop MILLISECONDS SPREAD_PERCENT FAILURES_PER_THOUSAND");
        return ExitCode::from(2);
    };
    let Err(error) = serve(&Shop::new(milliseconds, spread, failures));
    eprintln!("sentinel-shop: {error}");
    ExitCode::FAILURE
}

struct Shop {
    usual: Duration,
    spread: u64,
    failures: u64,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    requests: u64,
    failed: u64,
    seconds: f64,
    random: u64,
}

impl Shop {
    fn new(milliseconds: u64, spread: u64, failures: u64) -> Self {
        let counted = Counted {
            random: u64::from(std::process::id()) | 1,
            ..Counted::default()
        };
        Self {
            usual: Duration::from_millis(milliseconds),
            spread: spread.min(100),
            failures,
            counted: Mutex::new(counted),
        }
    }

    /// How long the next request takes, and whether it fails.
    fn next(&self) -> (Duration, bool) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        // xorshift64: requests differ, and nothing more is needed of it.
        for shift in [13_i32, -7, 17] {
            let random = counted.random;
            counted.random ^= if shift > 0 { random << shift } else { random >> -shift };
        }
        let (share, luck) = (counted.random % 201, (counted.random >> 20) % 1_000);
        let percent = 100 + self.spread * share / 100 - self.spread;
        (
            self.usual * u32::try_from(percent).unwrap_or(100) / 100,
            luck < self.failures,
        )
    }

    fn count(&self, took: Duration, failed: bool) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.requests += 1;
        counted.failed += u64::from(failed);
        counted.seconds += took.as_secs_f64();
    }

    fn page(&self) -> String {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        format!(
            "# TYPE shop_requests_total counter\nshop_requests_total {}\n# TYPE shop_failures_total counter\nshop_failures_total {}\n\
             # TYPE shop_request_seconds summary\nshop_request_seconds_sum {}\nshop_request_seconds_count {}\n",
            counted.requests, counted.failed, counted.seconds, counted.requests
        )
    }
}

fn serve(shop: &Shop) -> Result<std::convert::Infallible, std::io::Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("ready {}", listener.local_addr()?.port());
    std::thread::scope(|scope| {
        loop {
            let (stream, _) = listener.accept()?;
            // A client that goes away is its own business.
            scope.spawn(move || drop(answer(shop, &stream)));
        }
    })
}

fn answer(shop: &Shop, mut stream: &TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    // The rest of the head is of no interest; requests here have no body.
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    if first.starts_with("GET /metrics ") {
        return reply(stream, "200 OK", &shop.page());
    }
    let started = Instant::now();
    let (takes, fails) = shop.next();
    std::thread::sleep(takes);
    shop.count(started.elapsed(), fails);
    let status = if fails { "500 Internal Server Error" } else { "200 OK" };
    reply(stream, status, "sold\n")?;
    stream.flush()
}

fn reply(mut stream: &TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
