//! The `process_*` families that every dashboard of a Prometheus user knows, from `/proc/self`.
//!
//! What cannot be read is left out of the page; nothing is guessed.

use std::fs;

use wire::exposition::{Kind, Page};

/// Adds them.
pub fn write(page: &mut Page) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second();
    if let Some((cpu_ticks, start_ticks)) = times(&stat) {
        page.family(
            "process_cpu_seconds",
            Kind::Counter,
            "CPU time of this process, in user mode and in the kernel.",
        )
        .value(&[], seconds(cpu_ticks, ticks));
        if let Some(boot) = boot_seconds() {
            page.family(
                "process_start_time_seconds",
                Kind::Gauge,
                "Start of this process, seconds since 1970.",
            )
            .value(&[], boot + seconds(start_ticks, ticks));
        }
    }
    if let Some(pages) = resident_pages() {
        page.family(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Memory of this process that is in RAM.",
        )
        .count(&[], pages * rustix::param::page_size() as u64);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.family("process_open_fds", Kind::Gauge, "Open file descriptors.")
            .count(&[], open.count() as u64);
    }
}

/// CPU ticks (fields 14 and 15) and the start (field 22), after the name in parentheses. Source: `proc_pid_stat(5)`.
fn times(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some((field(14)? + field(15)?, field(22)?))
}

#[expect(clippy::cast_precision_loss, reason = "a page shows floats")]
fn seconds(ticks: u64, per_second: u64) -> f64 {
    ticks as f64 / per_second.max(1) as f64
}

fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

fn resident_pages() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let rest = (3..=24).map(|n| if n == 3 { "S".to_owned() } else { n.to_string() });
        let stat = format!("7 (a) b) {}", rest.collect::<Vec<_>>().join(" "));
        assert_eq!(times(&stat), Some((14 + 15, 22)));
        assert_eq!(times("garbage"), None);
    }
}
