//! Starts a program that ends when the demo does, however the demo ends.
//!
//! The kernel sends a signal to a process when the thread that started it is gone (`prctl(2)`, `PR_SET_PDEATHSIG`), and keeps
//! that wish over `exec`. It must be set in the child, so the demo starts itself once more, which sets it and becomes the program.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// The first word of a start that becomes another program.
pub const WORD: &str = "--tied-to";

/// The command that runs `program`, tied to the calling thread. It leads a process group of its own, so that Ctrl-C at the
/// terminal reaches the demo alone, which then stops everything in order.
pub fn command(program: &Path) -> Command {
    // Not by its path: a build while the demo runs puts another file there.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(WORD)
        .arg(getpid().as_raw_nonzero().to_string())
        .arg(program)
        .process_group(0);
    command
}

/// Becomes `PROGRAM ARGUMENTS…` of `PARENT PROGRAM ARGUMENTS…`. Returns only when that fails.
pub fn become_program(words: &[String]) -> String {
    let [parent, program, arguments @ ..] = words else {
        return format!("{WORD} is for the demo itself");
    };
    if let Err(cause) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return format!("cannot tie {program} to its parent: {cause}");
    }
    // The parent may have gone before the wish was set.
    if getppid().map(Pid::as_raw_nonzero).map(|pid| pid.to_string()).as_deref() != Some(parent) {
        return format!("the demo that wanted {program} is gone");
    }
    let cause = Command::new(program).args(arguments).exec();
    format!("cannot start {program}: {cause}")
}
