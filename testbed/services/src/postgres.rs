//! PostgreSQL: a real one on loopback, killed in the middle of its work and started again at will.
//!
//! The programs are Debian's. Its data lie in a folder of its own and are forgotten at the end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{MutualTls, Process, RunFolder, ServiceError, free_port, wait_until};

/// Time to be ready; a second is usual, and after a kill it reads its log again.
const READY: Duration = Duration::from_secs(60);
/// Who may do everything in it.
const USER: &str = "sentinel";
/// Its database.
const DATABASE: &str = "postgres";
/// Where Debian has the programs.
const DEBIAN: &str = "/usr/lib/postgresql";
/// What a missing program asks for.
const HINT: &str = "install postgresql";

/// A PostgreSQL that runs until it is dropped.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    account: Option<String>,
    port: u16,
    server: Option<Process>,
    folder: RunFolder,
    password: String,
    settings: Vec<String>,
}

impl Postgres {
    /// Makes an empty one and starts it. Blocks until it serves. With `tls` it can be spoken to in TLS, and whoever does has to show a
    /// certificate of that authority.
    pub fn start(name: &str, tls: Option<&MutualTls>) -> Result<Self, ServiceError> {
        let folder = RunFolder::make(name)?;
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            // A test opens many stores, one after the other and some at once.
            "max_connections=200".to_owned(),
            "shared_buffers=64MB".to_owned(),
        ];
        let is_tls = tls.is_some();
        if let Some(tls) = tls {
            settings.push("ssl=on".to_owned());
            let files = [("ca", &tls.ca), ("cert", &tls.certificate), ("key", &tls.key)];
            for (what, file) in files {
                // It refuses a key that others can read, and its account may not read the test's.
                let own = folder.path().join(format!("{what}.pem"));
                fs::copy(file, &own).map_err(ServiceError::file("copy", &own))?;
                settings.push(format!("ssl_{what}_file={}", own.display()));
            }
        }
        let mut postgres = Self {
            programs: programs()?,
            account: account(),
            port: free_port()?,
            server: None,
            password: format!("pw-{:x}", std::process::id()),
            folder,
            settings,
        };
        postgres.make(is_tls)?;
        postgres.restart()?;
        Ok(postgres)
    }

    /// Where it is, for a user who knows the password: `postgres://USER@127.0.0.1:PORT/DATABASE`.
    pub fn address(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of that user.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The password is another one now.
    pub fn set_password(&mut self, password: &str) {
        password.clone_into(&mut self.password);
    }

    /// Runs statements, and gives what they print, fields apart by `|`.
    pub fn sql(&self, statements: &str) -> Result<String, ServiceError> {
        let output = Command::new(self.programs.join("psql"))
            .args([
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                &self.address(),
                "-c",
                statements,
            ])
            .env("PGPASSWORD", &self.password)
            .env("PGSSLMODE", "disable")
            .output()
            .map_err(missing("psql"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(ServiceError::Refused {
                name: "PostgreSQL",
                request: statements.to_owned(),
                reason: String::from_utf8_lossy(&output.stderr).into_owned(),
            }),
        }
    }

    /// Kills every process of it at once, in the middle of whatever they do.
    pub fn kill(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        let children = children(server.pid());
        server.kill();
        for pid in children {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _may_be_gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    /// Starts it on its files, if it does not run.
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        if self.server.is_some() {
            return Ok(());
        }
        let data = self.data();
        // Left by one that was killed; its number may be another process's by now.
        let _may_not_be_there = fs::remove_file(data.join("postmaster.pid"));
        let port = self.port.to_string();
        let mut arguments = self.as_account();
        let program = self.programs.join("postgres").display().to_string();
        arguments.extend([
            program,
            "-D".to_owned(),
            data.display().to_string(),
            "-p".to_owned(),
            port,
        ]);
        for setting in &self.settings {
            arguments.extend(["-c".to_owned(), setting.clone()]);
        }
        let program = PathBuf::from(arguments.remove(0));
        let mut server = Process::start("postgres", &program, arguments, &[], self.folder.path())?;
        let ready = || {
            server.alive()?;
            Ok(self.sql("SELECT 1").err().map(|error| error.to_string()))
        };
        wait_until("postgres", READY, ready)?;
        self.server = Some(server);
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn make(&self, is_tls: bool) -> Result<(), ServiceError> {
        let secret = self.folder.path().join("password");
        fs::write(&secret, &self.password).map_err(ServiceError::file("write", &secret))?;
        if let Some(account) = &self.account {
            own(self.folder.path(), account)?;
        }
        let mut arguments = self.as_account();
        arguments.push(self.programs.join("initdb").display().to_string());
        let data = self.data().display().to_string();
        let password = format!("--pwfile={}", secret.display());
        let options = [
            "-D",
            &data,
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            &password,
        ];
        arguments.extend(options.map(str::to_owned));
        let output = Command::new(&arguments[0])
            .args(&arguments[1..])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .map_err(missing("initdb"))?;
        if !output.status.success() {
            return Err(ServiceError::Make {
                name: "a PostgreSQL".to_owned(),
                output: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        if is_tls {
            let rules = self.data().join("pg_hba.conf");
            let text = "hostssl all all all scram-sha-256 clientcert=verify-ca\nhostnossl all all 127.0.0.1/32 scram-sha-256\n";
            fs::write(&rules, text).map_err(ServiceError::file("write", &rules))?;
        }
        Ok(())
    }

    /// It refuses to run as root. The system ends it with whoever started it, also after the change of accounts.
    fn as_account(&self) -> Vec<String> {
        let Some(account) = &self.account else {
            return vec!["env".to_owned()];
        };
        let words = [
            "setpriv",
            "--reuid",
            account,
            "--regid",
            account,
            "--clear-groups",
            "--pdeathsig",
            "KILL",
            "--",
        ];
        words.map(str::to_owned).to_vec()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn missing(program: &str) -> impl FnOnce(std::io::Error) -> ServiceError {
    let program = program.to_owned();
    move |cause| ServiceError::Run {
        program,
        hint: HINT,
        cause,
    }
}

/// The folder of the newest programs.
fn programs() -> Result<PathBuf, ServiceError> {
    let is_one = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let installed = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = installed
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .filter(|(_, folder)| is_one(folder))
        .collect();
    found.sort();
    let newest = found.pop().map(|(_, folder)| folder);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).find(is_one);
    newest
        .or_else(on_path)
        .ok_or_else(|| missing("initdb")(std::io::ErrorKind::NotFound.into()))
}

/// Who it runs as, where this is root.
fn account() -> Option<String> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is_there = accounts.lines().any(|line| line.starts_with("postgres:"));
    Some(if is_there { "postgres" } else { "nobody" }.to_owned())
}

/// Gives a folder with its files to an account, and closes the files to others.
fn own(folder: &Path, account: &str) -> Result<(), ServiceError> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let closed = fs::Permissions::from_mode(0o600);
        fs::set_permissions(entry.path(), closed).map_err(ServiceError::file("close", &entry.path()))?;
    }
    let given = Command::new("chown").args(["-R", account]).arg(folder).status();
    match given.map_err(missing("chown"))?.success() {
        true => Ok(()),
        false => Err(ServiceError::Make {
            name: format!("`{}` one of {account}'s", folder.display()),
            output: String::new(),
        }),
    }
}

/// Processes that a process has started.
fn children(pid: u32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_there_after_a_kill() {
        let mut postgres = Postgres::start("postgres-service", None).expect("postgresql is installed");
        postgres
            .sql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
            .expect("room");
        postgres.kill();
        postgres.sql("SELECT 1").expect_err("it is gone");
        postgres.restart().expect("it comes back");
        assert_eq!(postgres.sql("SELECT n FROM t").expect("there"), "7");
        let wrong = Command::new(postgres.programs.join("psql"))
            .args(["-w", "-d", &postgres.address(), "-c", "SELECT 1"])
            .output()
            .expect("psql");
        assert!(!wrong.status.success(), "nobody comes in without the password");
    }
}
