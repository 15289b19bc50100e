//! Runs other programs, from the repository's root.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The repository's root.
pub fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    // testbed/xtask is two below it.
    path.pop();
    path.pop();
    path
}

/// A command in the root. `cargo` is the one that runs this program.
pub fn command(program: &str) -> Command {
    let program = if program == "cargo" {
        std::env::var("CARGO").unwrap_or_else(|_| program.to_owned())
    } else {
        program.to_owned()
    };
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Whether a program is on the path.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Runs it with its output shown; an exit status other than 0 is an error that names the whole command.
pub fn run(command: &mut Command) -> Result<(), String> {
    let text = words(command);
    let status = command
        .status()
        .map_err(|cause| format!("cannot start `{text}`: {cause}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{text}` ended with {status}"))
    }
}

/// Runs what only prepares something: all of its output goes to standard error, so that standard output is what was asked for.
pub fn prepare(command: &mut Command) -> Result<(), String> {
    run(command.stdout(std::io::stderr()))
}

/// Runs it and returns what it printed; its errors are shown.
pub fn output(command: &mut Command) -> Result<String, String> {
    let text = words(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|cause| format!("cannot start `{text}`: {cause}"))?;
    if !output.status.success() {
        return Err(format!("`{text}` ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{text}` printed bytes that are not text"))
}

/// Runs it, shows its standard output line by line, and gives each line to `each` too.
pub fn watch(command: &mut Command, mut each: impl FnMut(&str)) -> Result<(), String> {
    let text = words(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|cause| format!("cannot start `{text}`: {cause}"))?;
    let stdout = child.stdout.take().expect("it was asked for a pipe");
    for line in BufReader::new(stdout).lines() {
        let line = line.map_err(|cause| format!("cannot read from `{text}`: {cause}"))?;
        println!("{line}");
        each(&line);
    }
    let status = child
        .wait()
        .map_err(|cause| format!("cannot wait for `{text}`: {cause}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{text}` ended with {status}"))
    }
}

fn words(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set where this test runs itself, to see what leaves the process.
    const INNER: &str = "XTASK_TEST_INNER";

    #[test]
    fn what_prepares_leaves_standard_output_alone() {
        if std::env::var_os(INNER).is_some() {
            prepare(command("sh").args(["-c", "echo loud"])).expect("a shell");
            return;
        }
        let this = std::env::current_exe().expect("a running program has a path");
        let name = "shell::tests::what_prepares_leaves_standard_output_alone";
        let said = Command::new(this)
            .args(["--exact", name, "--nocapture"])
            .env(INNER, "1")
            .output()
            .expect("it starts");
        assert!(!String::from_utf8_lossy(&said.stdout).contains("loud"), "{said:?}");
        assert!(String::from_utf8_lossy(&said.stderr).contains("loud"), "{said:?}");
    }
}
