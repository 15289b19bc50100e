//! The forbidden acts: what the self-test tries from inside, and what must fail.
//!
//! Acts are shell lines that leave with status 0 when they succeeded, which is bad. They run in the very sandbox that fixers get.
//! Bait stands outside: a file with a secret, a listening port, an abstract socket. A line whose tool is missing counts as not
//! tried and therefore as open, so that a bare machine never looks safer than it is.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Job, Sandbox};

/// One act that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Which.
    pub name: String,
    /// True when the sandbox held.
    pub blocked: bool,
}

/// Name and line. `$SECRET`, `$PORT`, `$UDP`, `$ABSTRACT` and `$PID` are the bait. Python is the interpreter of the host.
const ACTS: &[(&str, &str)] = &[
    ("read a file of the host", "cat \"$SECRET\""),
    ("list the home of root", "ls /root/* "),
    ("read the machine's accounts", "cat /etc/shadow"),
    ("read the machine's identity", "cat /etc/machine-id"),
    ("read mail and spool", "ls /var/spool/*"),
    ("read temporary files of the host", "ls \"$(dirname \"$SECRET\")\"/*"),
    (
        "follow a link out of the workspace",
        "ln -s \"$SECRET\" /repo/link && cat /repo/link",
    ),
    ("climb out of the workspace", "cat \"/repo/../../../../../..$SECRET\""),
    ("write beside the workspace", "touch /usr/made-here"),
    ("write into the tools", "touch /usr/bin/made-here"),
    (
        "write into the root folder's configuration",
        "mkdir -p /etc/cron.d && touch /etc/cron.d/x && test -e /proc/1/root/etc/hostname",
    ),
    ("change the owner of a program", "chown 1:1 /usr/bin/env"),
    (
        "make a program that runs as root",
        "cp /usr/bin/env /repo/e && chown 0:0 /repo/e && chmod u+s /repo/e && /repo/e unshare -m true",
    ),
    ("see processes of the host", "test -e /proc/$PID/status"),
    (
        "read an environment of the host",
        "tr '\\0' '\\n' < /proc/1/environ | grep -vE '^(PATH|PWD|OLDPWD|SHLVL|_)=' | grep -q .",
    ),
    ("signal a process of the host", "kill -0 $PID"),
    (
        "connect to a port of the host",
        "python3 -c \"import socket; socket.create_connection(('127.0.0.1', $PORT), 2)\"",
    ),
    (
        "send a datagram to the host",
        "python3 -c \"import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', $UDP))\"",
    ),
    (
        "open an IPv6 socket",
        "python3 -c \"import socket; socket.socket(socket.AF_INET6, socket.SOCK_STREAM)\"",
    ),
    (
        "open a raw socket",
        "python3 -c \"import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\"",
    ),
    (
        "open a netlink socket",
        "python3 -c \"import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)\"",
    ),
    (
        "reach an abstract socket of the host",
        "python3 -c \"import socket; s=socket.socket(socket.AF_UNIX); s.connect('\\0' + '$ABSTRACT')\"",
    ),
    (
        "resolve a name",
        "python3 -c \"import socket; socket.getaddrinfo('example.com', 80)\"",
    ),
    ("make a user namespace", "unshare -U true"),
    ("make a mount namespace", "unshare -m true"),
    ("make a network namespace", "unshare -n true"),
    ("enter another namespace", "nsenter -t 1 -m true"),
    ("mount a file system", "mount -t tmpfs none /repo"),
    ("mount over the root", "mount --bind /repo /usr"),
    ("change the root", "python3 -c \"import os; os.chroot('/repo')\""),
    ("make a device", "mknod /repo/disk b 8 0"),
    (
        "read a disk",
        "head -c 1 /dev/sda /dev/vda /dev/nvme0n1 /dev/mem 2>/dev/null | grep -q .",
    ),
    (
        "trace a process",
        "python3 -c \"import ctypes, sys; sys.exit(0 if ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0 else 1)\"",
    ),
    (
        "use the kernel's keys",
        "python3 -c \"import ctypes, sys; sys.exit(0 if ctypes.CDLL(None).syscall(250, 0, -3, 1) > 0 else 1)\"",
    ),
    (
        "load a BPF program",
        "python3 -c \"import ctypes, sys; sys.exit(0 if ctypes.CDLL(None).syscall(321, 0, 0, 0) == 0 or ctypes.get_errno() not in (0, 1) else 1)\"",
    ),
    (
        "type into the terminal",
        "python3 -c \"import fcntl, os; fcntl.ioctl(os.open('/dev/tty', os.O_RDWR), 0x5412, b'x')\"",
    ),
    (
        "change the host's name",
        "python3 -c \"import socket; socket.sethostname('outside')\"",
    ),
    (
        "take capabilities back",
        "grep -q 'CapEff:\\s*0*[1-9a-f]' /proc/self/status",
    ),
    ("write 3 GiB of memory", "python3 -c \"x = bytearray(3 << 30)\""),
    (
        "write a file of 300 MiB",
        // Behind a hole: what is tried is the limit, and not how fast the disk is.
        "python3 -c \"f = open('/repo/big', 'wb'); f.seek(300 << 20); f.write(b'x'); f.flush()\"",
    ),
    (
        "open 2000 files",
        "python3 -c \"f = [open('/usr/bin/env') for _ in range(2000)]\"",
    ),
    ("change the clock", "date -s '2001-01-01'"),
    (
        "see the agent's environment",
        "env | grep -qE 'SENTINEL|TOKEN|SECRET_KEY'",
    ),
    // The last one: what it starts stays until the end, and leaves no room for another process.
    (
        "start 400 processes",
        "python3 -c \"import os, time; [os.fork() or (time.sleep(600), os._exit(0)) for _ in range(400)]\"",
    ),
];

/// What a shell answers when there is no such program.
const NOT_FOUND: i32 = 127;

/// How long all of them may take: a second where nothing else runs, and a machine that builds beside it is many times slower.
const LIMIT: Duration = Duration::from_secs(180);
/// How often they are tried when the self-test does not come to its end. What was tried and not blocked is not tried again.
const TRIES: usize = 2;

/// Tries every act. `Err` says why the sandbox itself does not start.
pub fn try_all(sandbox: &Sandbox) -> Result<Vec<Tried>, String> {
    let mut result = once(sandbox);
    for _ in 1..TRIES {
        if result.is_err() {
            result = once(sandbox);
        }
    }
    result
}

fn once(sandbox: &Sandbox) -> Result<Vec<Tried>, String> {
    if sandbox.bubblewrap.as_os_str().is_empty() {
        return Err("`bwrap` is not on PATH: install bubblewrap".to_owned());
    }
    let outside = tempfile::tempdir().map_err(|cause| format!("cannot make a temporary folder: {cause}"))?;
    let workspace = tempfile::tempdir().map_err(|cause| format!("cannot make a temporary folder: {cause}"))?;
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "bait").map_err(|cause| format!("cannot write the bait: {cause}"))?;
    let port = TcpListener::bind("127.0.0.1:0").map_err(|cause| format!("cannot listen: {cause}"))?;
    let datagrams = UdpSocket::bind("127.0.0.1:0").map_err(|cause| format!("cannot listen: {cause}"))?;
    // As unique as the folder: two self-tests of one process must not meet.
    let folder = outside.path().file_name().unwrap_or_default().to_string_lossy();
    let name = format!("sentinel-bait-{folder}");
    let address = SocketAddr::from_abstract_name(&name).map_err(|cause| format!("cannot name a socket: {cause}"))?;
    let _local = UnixListener::bind_addr(&address).map_err(|cause| format!("cannot listen: {cause}"))?;
    let number =
        |address: std::io::Result<std::net::SocketAddr>| address.map(|address| address.port()).unwrap_or_default();
    let mut script = format!(
        "SECRET='{}'; PORT={}; UDP={}; ABSTRACT='{name}'; PID={}\n",
        secret.display(),
        number(port.local_addr()),
        number(datagrams.local_addr()),
        host_process(),
    );
    for (at, (_, line)) in ACTS.iter().enumerate() {
        script.push_str(&format!("( {line} ) </dev/null >/dev/null 2>&1; echo \"{at} $?\"\n"));
    }
    script.push_str("command -v python3 unshare nsenter mount >/dev/null && echo tools\n");
    let argv = ["sh".to_owned(), "-c".to_owned(), script];
    let job = Job {
        argv: &argv,
        workspace: workspace.path(),
        folder: "",
        limit: LIMIT,
    };
    let ran = sandbox.start(&job).map_err(|cause| cause.to_string())?;
    if ran.timed_out {
        return Err(format!("the self-test took more than {} s", LIMIT.as_secs()));
    }
    read_answers(
        &String::from_utf8_lossy(&ran.stdout),
        &String::from_utf8_lossy(&ran.output),
    )
}

/// A process that exists outside, and whose number is never used inside: our own is far above what a fresh PID namespace reaches.
fn host_process() -> u32 {
    std::process::id().max(10_000)
}

fn read_answers(answers: &str, all: &str) -> Result<Vec<Tried>, String> {
    if !answers.contains("tools") {
        let why = all.lines().last().unwrap_or("it wrote nothing");
        return Err(format!("the self-test did not run to its end: {why}"));
    }
    let status = |at: usize| {
        let prefix = format!("{at} ");
        answers
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .and_then(|status| status.trim().parse::<i32>().ok())
    };
    Ok(ACTS
        .iter()
        .enumerate()
        .map(|(at, (name, _))| Tried {
            name: (*name).to_owned(),
            blocked: status(at).is_some_and(|status| status != 0 && status != NOT_FOUND),
        })
        .collect())
}
