//! Gitea: a real forge with an API, pull requests and signed webhooks, on loopback.
//!
//! Its runner is not to be had here: whoever needs a CI run runs the workflow elsewhere and reports a commit status.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

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
/// Time to be ready; 2 s are usual.
const READY: Duration = Duration::from_secs(60);
/// The only user, an administrator.
const USER: &str = "bot";

/// A forge that runs until it is dropped.
#[derive(Debug)]
pub struct Gitea {
    port: u16,
    token: String,
    _server: Process,
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
        admin(&["migrate"])?;
        admin(&[
            "admin",
            "user",
            "create",
            "--username",
            USER,
            "--random-password",
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
        let forge = |server| Self {
            port,
            token,
            _server: server,
            _folder: folder,
        };
        wait_until("gitea", READY, || {
            server.alive()?;
            let answer = ureq::get(format!("http://127.0.0.1:{port}/api/v1/version")).call();
            Ok(answer.err().map(|error| error.to_string()))
        })?;
        Ok(forge(server))
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Name of the only user, who owns what is made here.
    pub fn user(&self) -> &'static str {
        USER
    }

    /// Token of that user.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Asks the API (`path` begins after `/api/v1`) and gives the answer; anything but success is an error.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, ServiceError> {
        self.send(
            method,
            &format!("{}/api/v1{path}", self.url()),
            body.map(|body| body.to_string().into_bytes()),
        )
    }

    /// Keeps a file in the package registry and gives its address.
    pub fn keep_file(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<String, ServiceError> {
        let url = format!("{}/api/packages/{USER}/generic/{folder}/1/{name}", self.url());
        self.send("PUT", &url, Some(bytes.to_vec()))?;
        Ok(url)
    }

    fn send(&self, method: &str, url: &str, body: Option<Vec<u8>>) -> Result<Value, ServiceError> {
        let refused = |reason: String| ServiceError::Refused {
            name: "gitea",
            request: format!("{method} {url}"),
            reason,
        };
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(url)
            .header("authorization", format!("token {}", self.token))
            .header("content-type", "application/json")
            .body(body.unwrap_or_default())
            .map_err(|cause| refused(cause.to_string()))?;
        let mut answer = agent.run(request).map_err(|cause| refused(cause.to_string()))?;
        let text = answer
            .body_mut()
            .read_to_string()
            .map_err(|cause| refused(cause.to_string()))?;
        if !answer.status().is_success() {
            return Err(refused(format!("{} {text}", answer.status())));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
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
    format!(
        "RUN_MODE = prod\nRUN_USER = {user}\nWORK_PATH = {folder}\n\
         [server]\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\nROOT_URL = http://127.0.0.1:{port}/\nSTATIC_ROOT_PATH = {assets}\n\
         DISABLE_SSH = true\nOFFLINE_MODE = true\n\
         [database]\nDB_TYPE = sqlite3\nPATH = {folder}/gitea.db\n[repository]\nROOT = {folder}/repositories\n\
         [security]\nINSTALL_LOCK = true\n[webhook]\nALLOWED_HOST_LIST = *\nSKIP_TLS_VERIFY = true\n\
         [service]\nDISABLE_REGISTRATION = true\n[log]\nLEVEL = warn\n",
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
