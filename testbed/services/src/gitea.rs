//! Gitea: a real forge with an API, pull requests and signed webhooks, on loopback.
//!
//! Its own runner is not to be had: workflows are run by [`Ci`](crate::Ci), which reports a commit status as a runner does.
//!
//! Read next: `gitea/account.rs` (what can be asked of it), `ci.rs`.

mod account;

use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub use account::Account;

use crate::{Cache, GoBuild, Process, Progress, RunFolder, ServiceError, free_port, go_module_folder, wait_until};

const BUILD: GoBuild = GoBuild {
    values: &[],
    module: "gitea",
    package: "code.gitea.io/gitea",
    program: "gitea",
    cgo: true,
    tags: "sqlite,sqlite_unlock_notify",
    takes: "5 minutes",
};
/// Time to be ready; 2 s are usual, and a machine that builds beside it is many times slower.
const READY: Duration = Duration::from_secs(180);
/// The only user, an administrator.
const USER: &str = "bot";

/// A forge that runs until it is dropped.
#[derive(Debug)]
pub struct Gitea {
    account: Account,
    password: String,
    server: Process,
    _folder: RunFolder,
}

impl Gitea {
    /// Builds it if need be, starts it, and makes one user with a token. Blocks until it answers.
    pub fn start(name: &str, progress: Progress<'_>) -> Result<Self, ServiceError> {
        let program = BUILD.ready(&Cache::of_this_checkout(), progress)?;
        let assets = go_module_folder("gitea", "code.gitea.io/gitea")?;
        let folder = RunFolder::make(name)?;
        let port = free_port()?;
        let settings = folder.path().join("app.ini");
        std::fs::write(&settings, app_ini(folder.path(), &assets, port))
            .map_err(ServiceError::file("write", &settings))?;
        let admin = |arguments: &[&str]| admin(&program, &settings, folder.path(), arguments);
        let password = random_word()?;
        admin(&["migrate"])?;
        admin(&[
            "admin",
            "user",
            "create",
            "--username",
            USER,
            "--password",
            &password,
            "--email",
            "bot@example.org",
            "--admin",
            "--must-change-password=false",
        ])?;
        let token = admin(&[
            "admin",
            "user",
            "generate-access-token",
            "--username",
            USER,
            "--token-name",
            "tests",
            "--scopes",
            "all",
            "--raw",
        ])?;
        let token = token.lines().last().unwrap_or_default().trim().to_owned();
        let config = settings.display().to_string();
        let home = folder.path().display().to_string();
        let mut server = Process::start(
            "gitea",
            &program,
            ["-c", &config, "web"],
            &environment(&home),
            folder.path(),
        )?;
        let url = format!("http://127.0.0.1:{port}");
        wait_until("gitea", READY, || {
            server.alive()?;
            let answer = ureq::get(format!("{url}/api/v1/version")).call();
            Ok(answer.err().map(|error| error.to_string()))
        })?;
        Ok(Self {
            account: Account::new(&url, USER, &token),
            password,
            server,
            _folder: folder,
        })
    }

    /// The only user, an administrator.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The user's password, for a person in front of its pages.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// An error when it does not run any more.
    pub fn alive(&mut self) -> Result<(), ServiceError> {
        self.server.alive()
    }
}

/// A password that nobody guesses.
fn random_word() -> Result<String, ServiceError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 12];
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(ServiceError::file("read", path))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn environment(home: &str) -> [(&str, &str); 3] {
    [
        ("GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT", "true"),
        ("GITEA_WORK_DIR", home),
        ("HOME", home),
    ]
}

fn app_ini(folder: &Path, assets: &Path, port: u16) -> String {
    let (folder, assets) = (folder.display(), assets.display());
    // Without its own Actions: nobody runs them here, and a check that waits for a runner waits for ever. `Ci` plays them.
    format!(
        "RUN_MODE = prod\nRUN_USER = {user}\nWORK_PATH = {folder}\n\
         [server]\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\nROOT_URL = http://127.0.0.1:{port}/\nSTATIC_ROOT_PATH = {assets}\n\
         DISABLE_SSH = true\nOFFLINE_MODE = true\n\
         [database]\nDB_TYPE = sqlite3\nPATH = {folder}/gitea.db\n[repository]\nROOT = {folder}/repositories\n\
         [security]\nINSTALL_LOCK = true\n[webhook]\nALLOWED_HOST_LIST = *\nSKIP_TLS_VERIFY = true\n\
         [actions]\nENABLED = false\n[service]\nDISABLE_REGISTRATION = true\n[log]\nLEVEL = warn\n",
        user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned()),
    )
}

fn admin(program: &Path, settings: &Path, folder: &Path, arguments: &[&str]) -> Result<String, ServiceError> {
    let home = folder.display().to_string();
    let done = Command::new(program)
        .arg("-c")
        .arg(settings)
        .args(arguments)
        .envs(environment(&home))
        .current_dir(folder)
        .output()
        .map_err(|cause| ServiceError::Run {
            program: "gitea".to_owned(),
            hint: "remove target/services to build it again",
            cause,
        })?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let output = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(ServiceError::Make {
        name: format!("gitea {}", arguments.join(" ")),
        output,
    })
}

/// What `sentinel-hub run --forges` reads to know this forge, as source `forge`.
pub fn forges_file(account: &Account, token_file: &Path, secret: &str) -> String {
    format!(
        "[[source]]\nid = \"forge\"\nprovider = \"gitea\"\nurl = \"{}\"\ntoken_file = \"{}\"\nsecret = \"{secret}\"\n",
        account.url(),
        token_file.display()
    )
}
