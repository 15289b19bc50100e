//! `login` and `logout`: a person at the command line, or a link that opens the console once.
//!
//! A password is read from standard input or typed without being shown; it is in no argument, which other users could read.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use wire::api::{LoginLinkView, PasswordRequest, TokensView};

use crate::args::Login;
use crate::client::Client;
use crate::context;
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::renewal::{nobody, with_pair};
use crate::rows::time;
use crate::session::Session;

/// `sentinel login`.
pub async fn run(session: &Session, asked: &Login, output: &mut Output) -> Result<Exit, Failure> {
    match &asked.user {
        None => link(session, output).await,
        Some(user) => person(session, user, asked).await,
    }
}

async fn link(session: &Session, output: &mut Output) -> Result<Exit, Failure> {
    let empty = serde_json::Map::new();
    let view: LoginLinkView = session.hub()?.post("/login-links", &empty, session.patience()).await?;
    output.one(&view, &view.url, || format!("{}\n", view.url))?;
    if output.for_people() {
        say(&format!("opens the console once, until {}", time(view.ends)));
    }
    Ok(Exit::Ok)
}

async fn person(session: &Session, user: &str, asked: &Login) -> Result<Exit, Failure> {
    let request = PasswordRequest {
        username: user.to_owned(),
        password: password(user)?,
    };
    let hub = Client::hub(&nobody(session.context()), session.patience())?;
    let pair: TokensView = hub.post("/auth/login", &request, session.patience()).await?;
    let path = asked.save.as_deref().unwrap_or_else(|| session.path());
    context::write(path, &with_pair(session.context().clone(), &pair))?;
    say(&format!("{user} is logged in; the context is `{}`", path.display()));
    Ok(Exit::Ok)
}

/// `sentinel logout`.
pub async fn logout(session: &Session, _output: &mut Output) -> Result<Exit, Failure> {
    let empty = serde_json::Map::new();
    session.hub()?.post_bare("/auth/logout", &empty).await?;
    say("logged out; log in again: sentinel login --user NAME");
    Ok(Exit::Ok)
}

fn password(user: &str) -> Result<String, Failure> {
    let cannot = |cause: std::io::Error| Failure::new(Exit::Usage, "cannot read the password").because(cause);
    let input = std::io::stdin();
    let mut line = String::new();
    if input.is_terminal() {
        drop(write!(std::io::stderr(), "password of {user}: "));
        let shown = tcgetattr(&input).map_err(|error| cannot(error.into()))?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Flush, &hidden).map_err(|error| cannot(error.into()))?;
        let read = input.lock().read_line(&mut line);
        let restored = tcsetattr(&input, OptionalActions::Flush, &shown);
        say("");
        read.map_err(cannot)?;
        restored.map_err(|error| cannot(error.into()))?;
    } else {
        input.lock().read_line(&mut line).map_err(cannot)?;
    }
    let password = line.trim_end_matches(['\n', '\r']).to_owned();
    match password.is_empty() {
        true => Err(Failure::new(Exit::Usage, "no password was given")
            .advise("type it, or give it on standard input: sentinel login --user NAME < FILE")),
        false => Ok(password),
    }
}
