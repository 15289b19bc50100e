//! What the kernel says of a process: memory and CPU time.

use std::time::{Duration, Instant};

/// Resident memory in bytes (`VmRSS`).
pub fn resident_bytes(pid: u32) -> Result<u64, String> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// Proportional resident memory in bytes (`Pss`): shared pages counted by share.
pub fn proportional_bytes(pid: u32) -> Result<u64, String> {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn field(path: &str, name: &str) -> Result<u64, String> {
    let text = std::fs::read_to_string(path).map_err(|cause| format!("cannot read `{path}`: {cause}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .map(|kibibytes| kibibytes * 1024)
        .ok_or_else(|| format!("`{path}` has no `{name}`"))
}

/// CPU time that a process has used, in user mode and in the kernel, from the scheduler's own accounting in nanoseconds.
pub fn cpu_time(pid: u32) -> Result<Duration, String> {
    let mut total = 0;
    let folder = format!("/proc/{pid}/task");
    let tasks = std::fs::read_dir(&folder).map_err(|cause| format!("cannot read `{folder}`: {cause}"))?;
    for task in tasks.flatten() {
        // `schedstat` counts nanoseconds on the CPU; ticks of 10 ms are too coarse for an agent that needs one a second.
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        total += text
            .split_whitespace()
            .next()
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// Share of one core, in percent, that a process used while `span` passed and `each_second` was called.
pub fn cpu_percent<T>(pid: u32, span: Duration, mut each_second: impl FnMut() -> T) -> Result<f64, String> {
    let (before, started) = (cpu_time(pid)?, Instant::now());
    while started.elapsed() < span {
        each_second();
        pause(Duration::from_secs(1));
    }
    let used = cpu_time(pid)?.saturating_sub(before);
    Ok(100.0 * used.as_secs_f64() / started.elapsed().as_secs_f64())
}

/// Lets wall time pass: a benchmark measures what happens in it.
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}
