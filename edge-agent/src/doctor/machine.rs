//! Looks at the machine itself: state folder, disk, clock, kernel log, limits, the service.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::Access;
use rustix::process::{Resource, getrlimit};
use wire::reading::{Unit, human};
use wire::time::BUILD_FLOOR;

use super::{Found, Verdict};
use crate::clock;
use crate::config::Config;
use crate::faults::log;
use crate::identity::Identity;
use crate::{socket, status};

/// The service's name.
const UNIT: &str = "sentinel-agent";
/// Descriptors that a node with a full mesh and all workloads needs, with room to spare.
const FILES: u64 = 1_024;
/// How long `systemctl` may take.
const SYSTEMCTL: Duration = Duration::from_secs(5);

/// Whether the state folder is there, private and writable.
pub fn state(config: &Config) -> Found {
    const PART: &str = "state folder";
    let path = &config.state_dir;
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            let next = "name a folder with `state_dir`, or move the file away";
            return Found::of(PART, Verdict::Wrong, format!("`{shown}` is not a folder"), next);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let evidence = format!("`{shown}` is not there yet: the first start makes it");
            return Found::of(PART, Verdict::Reduced, evidence, "start the agent, or join a hub");
        }
        Err(error) => {
            let next = "run this as root or as the service's user";
            return Found::of(PART, Verdict::Unknown, format!("`{shown}`: {error}"), next);
        }
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let evidence = format!("others may look into `{shown}` (mode {mode:04o}), where the node's key lies");
        return Found::of(PART, Verdict::Wrong, evidence, format!("chmod 0700 {shown}"));
    }
    if let Err(error) = rustix::fs::access(path, Access::WRITE_OK) {
        let evidence = format!("`{shown}` cannot be written: {error}");
        let next = "run this as the service's user; if it is the service that cannot, give it the folder with chown";
        return Found::of(PART, Verdict::Wrong, evidence, next);
    }
    Found::good(PART, format!("`{shown}`, mode {mode:04o}, of user {}", metadata.uid()))
}

/// Whether the journal may grow to its limit.
pub fn disk(config: &Config) -> Found {
    const PART: &str = "disk";
    let exists = |path: &&Path| path.exists();
    let folder = config.state_dir.ancestors().find(exists).unwrap_or(Path::new("/"));
    let stat = match rustix::fs::statvfs(folder) {
        Ok(stat) => stat,
        Err(error) => return Found::of(PART, Verdict::Unknown, format!("`{}`: {error}", folder.display()), ""),
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let bytes = |bytes: u64| human(i64::try_from(bytes).unwrap_or(i64::MAX), Unit::Bytes);
    let evidence = format!(
        "{} free at `{}`, the journal may take {}",
        bytes(free),
        folder.display(),
        bytes(config.journal_limit)
    );
    if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let next = "find out why the file system is read-only: the kernel log says it when a disk failed";
        return Found::of(
            PART,
            Verdict::Wrong,
            format!("`{}` is mounted read-only", folder.display()),
            next,
        );
    }
    if free < config.journal_limit {
        let next = "free some space, or lower `journal_limit`: when the disk is full, only protective actions run";
        return Found::of(PART, Verdict::Wrong, evidence, next);
    }
    Found::good(PART, evidence)
}

/// Whether the wall clock can be right.
pub fn clock(identity: Option<&Option<Identity>>) -> Found {
    const PART: &str = "clock";
    let now = clock::wall();
    let issued = identity.and_then(Option::as_ref).map(Identity::certificate_issued);
    let floor = issued.map_or(BUILD_FLOOR, |issued| issued.max(BUILD_FLOOR));
    let next = "set it, and keep it right with a time service (systemd-timesyncd, chrony)";
    if now < floor {
        let evidence =
            format!("the wall clock says {now}, which is before {floor}, when this program or certificate was made");
        return Found::of(PART, Verdict::Wrong, evidence, next);
    }
    let services = [
        "/run/systemd/timesync/synchronized",
        "/run/chrony",
        "/run/chrony-dhcp",
        "/run/ntpd.pid",
        "/run/openntpd.sock",
    ];
    match services.iter().find(|path| Path::new(path).exists()) {
        Some(path) => Found::good(PART, format!("{now}, kept right by a time service (`{path}`)")),
        None => Found::of(
            PART,
            Verdict::Unknown,
            format!("{now}; no time service is seen that keeps it right"),
            next,
        ),
    }
}

/// Whether the kernel log can be read, by whoever asks now.
pub fn kernel_log(config: &Config) -> Found {
    const PART: &str = "kernel log";
    let path = config.kernel_log.display();
    match log::past(&config.kernel_log) {
        Ok(faults) => Found::good(
            PART,
            format!(
                "`{path}` can be read; it tells of {} faults since the start",
                faults.len()
            ),
        ),
        Err(error) => {
            let next = "give the service CAP_SYSLOG and the device (its unit does); in a container, pass /dev/kmsg in. Without it, \
                        faults that only the kernel tells of stay unknown";
            Found::of(PART, Verdict::Reduced, format!("`{path}`: {error}"), next)
        }
    }
}

/// Whether it may open enough files.
pub fn files() -> Found {
    const PART: &str = "open files";
    let most = getrlimit(Resource::Nofile).current;
    let shown = most.map_or_else(|| "no limit".to_owned(), |most| format!("at most {most}"));
    match most {
        Some(most) if most < FILES => Found::of(
            PART,
            Verdict::Reduced,
            shown,
            format!("raise it to {FILES} or more (`ulimit -n`, `LimitNOFILE=`)"),
        ),
        Some(_) | None => Found::good(PART, shown),
    }
}

/// What the service manager says.
pub fn unit() -> Found {
    const PART: &str = "unit";
    if !Path::new("/run/systemd/system").exists() {
        let next = "start the agent by whatever starts services here, and let it be started again when it ends";
        return Found::of(PART, Verdict::Unknown, "this machine is not run by systemd", next);
    }
    let keys = "LoadState,ActiveState,SubState,NRestarts,Result";
    let said = match said_within(Command::new("systemctl").args(["show", UNIT, "-p", keys]), SYSTEMCTL) {
        Ok(said) => said,
        Err(error) => return Found::of(PART, Verdict::Unknown, format!("systemctl: {error}"), ""),
    };
    let value = |key: &str| {
        let found = said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    let (load, active) = (value("LoadState"), value("ActiveState"));
    if load == "not-found" {
        let next = "install the package, or copy sentinel-agent.service to /etc/systemd/system";
        return Found::of(PART, Verdict::Reduced, format!("there is no {UNIT}.service"), next);
    }
    let evidence = format!(
        "{UNIT}.service is {active} ({}), started anew {} times",
        value("SubState"),
        value("NRestarts")
    );
    match active.as_str() {
        "active" | "reloading" => Found::good(PART, evidence),
        "failed" => {
            let evidence = format!("{evidence}, ended with {}", value("Result"));
            Found::of(
                PART,
                Verdict::Wrong,
                evidence,
                format!("journalctl -u {UNIT} -n 50 says why"),
            )
        }
        _ => Found::of(
            PART,
            Verdict::Reduced,
            evidence,
            format!("systemctl enable --now {UNIT}"),
        ),
    }
}

/// Whether an agent runs, and what it says of itself.
pub fn running(config: &Config) -> Found {
    const PART: &str = "agent";
    let path = config.socket();
    let node = match status::ask(&path) {
        Ok(node) => node,
        Err(error) => {
            let evidence = format!("nothing answers at `{}`: {error}", path.display());
            return Found::of(
                PART,
                Verdict::Reduced,
                evidence,
                "start it: systemctl start sentinel-agent, or sentinel-agent run",
            );
        }
    };
    let pid = socket::server(&path).map_or_else(|_| String::new(), |pid| format!(", process {pid}"));
    let evidence = format!("{} runs version {}{pid}", node.name, node.version);
    match (&node.unhealthy, node.findings.first()) {
        (Some(why), _) => Found::of(
            PART,
            Verdict::Wrong,
            format!("{evidence}; {why}"),
            "sentinel-agent scan says what to do",
        ),
        (None, Some(finding)) => Found::of(
            PART,
            Verdict::Reduced,
            format!("{evidence}; {finding}"),
            "sentinel-agent status lists all findings",
        ),
        (None, None) => Found::good(PART, evidence),
    }
}

/// What a program printed; one that takes longer is ended.
fn said_within(command: &mut Command, patience: Duration) -> io::Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + patience;
    // What is asked for fits into the pipe, so it can end before anybody reads.
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output()?;
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
