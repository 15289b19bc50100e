//! A Debian root to break: made once by debootstrap, copied for each test, entered by chroot.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::shell::{command, run};

/// How long anything may take on a slow machine before the test says that it does not happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A root of its own.
pub struct Chroot {
    folder: PathBuf,
}

/// A process in a root that was started by a unit's command.
pub struct Service {
    child: Child,
    name: String,
}

impl Chroot {
    /// A fresh copy of a release's smallest root.
    pub fn of(release: &str) -> Result<Self, String> {
        let pristine = pristine(release)?;
        let folder = super::roots().join(format!("{release}-test"));
        drop(fs::remove_dir_all(&folder));
        run(command("cp").args(["-a", "--reflink=auto"]).arg(&pristine).arg(&folder))?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Gives packages to dpkg.
    pub fn dpkg(&self, verb: &str, packages: &[PathBuf]) -> Result<(), String> {
        make(&self.folder.join("tmp"))?;
        let mut words = vec!["dpkg".to_owned(), "--force-confold".to_owned(), verb.to_owned()];
        for package in packages {
            let name = package.file_name().unwrap_or_default();
            fs::copy(package, self.folder.join("tmp").join(name)).map_err(|cause| format!("cannot copy: {cause}"))?;
            words.push(format!("/tmp/{}", name.to_string_lossy()));
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.run(&words).map(drop)
    }

    /// Names installed packages to dpkg.
    pub fn dpkg_names(&self, verb: &str, names: &[&str]) -> Result<(), String> {
        self.run(&[&["dpkg", verb], names].concat()).map(drop)
    }

    /// Runs something as root and returns what it printed.
    pub fn run(&self, words: &[&str]) -> Result<String, String> {
        finished(self.enter("root", &shell_line(words)))
    }

    /// Runs something as another user.
    pub fn run_as(&self, user: &str, words: &[&str]) -> Result<String, String> {
        self.state_folder(user)?;
        finished(self.enter(user, &shell_line(words)))
    }

    /// Starts what a unit starts, as its user, and waits for the line that begins like this (none: it runs).
    pub fn service(&self, name: &str, ready: &str) -> Result<Service, String> {
        self.state_folder(name)?;
        let unit = super::super::read(&self.folder.join(format!("usr/lib/systemd/system/{name}.service")))?;
        let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key));
        let start = value("ExecStart=").ok_or("the unit starts nothing")?;
        let settings = value("EnvironmentFile=").map_or(String::new(), |file| format!("set -a; . {file}; set +a; "));
        // A unit's `$NAME` is split into words and `${NAME}` is one word, as a shell does where no value has spaces.
        let mut child = self
            .enter(name, &format!("{settings}exec {start}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|cause| format!("cannot start {name}: {cause}"))?;
        let stdout = child.stdout.take().expect("it was asked for a pipe");
        let service = Service {
            child,
            name: name.to_owned(),
        };
        let mut lines = BufReader::new(stdout).lines();
        if !ready.is_empty() {
            match lines.next() {
                Some(Ok(line)) if line.starts_with(ready) => {}
                other => return Err(format!("{name} said {other:?} instead of `{ready}`")),
            }
        }
        // What follows is read, so that whoever writes neither waits nor finds nobody there.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(service)
    }

    /// systemd makes the state folder before it starts a unit.
    fn state_folder(&self, name: &str) -> Result<(), String> {
        let state = format!("install -d -m 0700 -o {name} -g {name} /var/lib/{name}");
        finished(self.enter("root", &state)).map(drop)
    }

    /// A shell in this root, with its own `/proc`, which goes with the process.
    fn enter(&self, user: &str, line: &str) -> Command {
        let mut shell = command("unshare");
        shell
            .args(["--mount", "sh", "-c"])
            .arg("mount -t proc proc \"$1/proc\" && exec chroot \"$1\" setpriv --reuid \"$2\" --regid \"$2\" --init-groups sh -c \"$3\"")
            .arg("sh")
            .arg(&self.folder)
            .args([user, line])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        shell
    }

    /// Replaces a text in a file.
    pub fn edit(&self, file: &str, from: &str, to: &str) -> Result<(), String> {
        let path = self.folder.join(file);
        let text = super::super::read(&path)?;
        if !text.contains(from) {
            return Err(format!("`{from}` is not in {file}"));
        }
        fs::write(&path, text.replace(from, to)).map_err(|cause| format!("cannot write {file}: {cause}"))
    }

    /// Whether a file has this text.
    pub fn contains(&self, file: &str, part: &str) -> Result<(), String> {
        let text = super::super::read(&self.folder.join(file))?;
        if text.contains(part) { Ok(()) } else { Err(text) }
    }

    /// Whether there is such a path.
    pub fn exists(&self, path: &str) -> Result<(), String> {
        if self.folder.join(path).exists() {
            Ok(())
        } else {
            Err(format!("{path} is not there"))
        }
    }

    /// Whether there is none.
    pub fn lacks(&self, path: &str) -> Result<(), String> {
        if self.folder.join(path).exists() {
            Err(format!("{path} is still there"))
        } else {
            Ok(())
        }
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        // The pristine root stays; a copy that cannot be removed is removed before the next test.
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Service {
    /// Asks it to stop as systemd does, and waits for a good end.
    pub fn stop(mut self) -> Result<(), String> {
        run(command("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("{} ended with {status}", self.name)),
                Ok(None) => std::thread::yield_now(),
                Err(cause) => return Err(cause.to_string()),
            }
        }
        Err(format!("{} does not end", self.name))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A release's smallest root as debootstrap makes it, made if it is not there yet: to be read only.
pub fn pristine(release: &str) -> Result<PathBuf, String> {
    let folder = super::roots().join(release);
    if !folder.join("complete").is_file() {
        drop(fs::remove_dir_all(&folder));
        make(&super::roots())?;
        run(command("debootstrap")
            .args(["--variant=minbase", release])
            .arg(&folder)
            .stdout(Stdio::null()))?;
        fs::write(folder.join("complete"), "").map_err(|cause| format!("cannot write: {cause}"))?;
    }
    Ok(folder)
}

fn finished(mut shell: Command) -> Result<String, String> {
    let mut child = shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| format!("cannot enter the root: {cause}"))?;
    let mut said = String::new();
    let mut stdout = child.stdout.take().expect("it was asked for a pipe");
    let mut stderr = child.stderr.take().expect("it was asked for a pipe");
    // A few kilobytes of warnings at most, so that one pipe may wait for the other.
    let mut printed = String::new();
    stdout.read_to_string(&mut printed).map_err(|cause| cause.to_string())?;
    stderr.read_to_string(&mut said).map_err(|cause| cause.to_string())?;
    let status = child.wait().map_err(|cause| cause.to_string())?;
    if status.success() {
        Ok(printed)
    } else {
        Err(format!("{status}: {printed} {said}"))
    }
}

/// Words as a shell reads them back.
fn shell_line(words: &[&str]) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
        .collect();
    quoted.join(" ")
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|cause| format!("cannot make `{}`: {cause}", folder.display()))
}
