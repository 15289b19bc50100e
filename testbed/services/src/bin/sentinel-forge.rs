//! `sentinel-forge`: a real Gitea for the demo, and what people and runners do there.
//!
//! `serve FOLDER` builds what is not built yet and says so on standard error, starts Gitea, writes into the folder what the hub needs
//! to know of it (`forges.toml`, `forge.token`) and what a person needs (`forge.json`), prints `ready URL`, and runs until it is stopped.
//!
//! `push FOLDER WEBHOOK NAME` pushes a repository whose workflow fails, runs that workflow, and reports what it says.

use std::convert::Infallible;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use testbed_services::{Account, Ci, Gitea, PushedRepository, ServiceError, to_stderr};

/// How often Gitea is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Secret of the webhooks: forge and hub run for one demo on one machine's loopback.
const SECRET: &str = "the-demo-s-webhook-secret";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ended = match words[..] {
        ["serve", folder] => serve(Path::new(folder)).map(|never| match never {}),
        ["push", folder, webhook, name] => push(Path::new(folder), webhook, name),
        _ => {
            eprintln!("usage: sentinel-forge serve FOLDER | push FOLDER WEBHOOK NAME");
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sentinel-forge: {}", error.with_causes());
            ExitCode::FAILURE
        }
    }
}

fn serve(folder: &Path) -> Result<Infallible, ServiceError> {
    let ci = Ci::ready(&to_stderr)?;
    let mut gitea = Gitea::start("demo-forge", &to_stderr)?;
    let account = gitea.account();
    let token_file = folder.join("forge.token");
    let about = json!({
        "url": account.url(), "user": account.user(), "password": gitea.password(), "token": account.token(),
        "path": ci.path().to_string_lossy(),
    });
    write(&folder.join("forge.json"), &about.to_string())?;
    write(&token_file, account.token())?;
    write(
        &folder.join("forges.toml"),
        &testbed_services::forges_file(account, &token_file, SECRET),
    )?;
    println!("ready {}", account.url());
    // Nobody reads it: then nobody waits for it either.
    let _ = std::io::stdout().flush();
    loop {
        gitea.alive()?;
        std::thread::sleep(LOOK);
    }
}

fn push(folder: &Path, webhook: &str, name: &str) -> Result<(), ServiceError> {
    let path = folder.join("forge.json");
    let bytes = std::fs::read(&path).map_err(ServiceError::file("read", &path))?;
    let about: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let word = |name: &str| about[name].as_str().unwrap_or_default();
    let account = Account::new(word("url"), word("user"), word("token"));
    let pushed = PushedRepository::push(&account, name, webhook, SECRET)?;
    let run = Ci::ready(&to_stderr)?.check(&account, &pushed.repository, "main", &pushed.commit)?;
    println!("{} {} {}", pushed.repository, pushed.commit, run.log_url);
    Ok(())
}

/// Tokens are in it: only its owner reads it.
fn write(path: &Path, text: &str) -> Result<(), ServiceError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(ServiceError::file("write", path))
}
