//! Takes the next pair of tokens for a person who is logged in, and keeps it in the context file.
//!
//! A refresh token works once, and using it twice ends the session. So commands that run at the same time take turns by a lock
//! beside the context file, and whoever comes second reads what the first one wrote.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use wire::Wall;
use wire::api::{Context, RefreshRequest, TokensView};

use crate::client::Client;
use crate::context::{self, Found};
use crate::failure::{Exit, Failure};

/// The context with a token that lasts.
pub async fn renewed(found: Found, patience: Duration) -> Result<Found, Failure> {
    let _lock = lock(&found.path)?;
    let found = context::read(&found.path)?;
    let Some(refresh_token) = found.context.refresh_token.clone().filter(|_| !found.is_fresh()) else {
        return Ok(found);
    };
    let hub = Client::hub(&nobody(&found.context), patience)?;
    let pair: TokensView = hub
        .post("/auth/refresh", &RefreshRequest { refresh_token }, patience)
        .await
        .map_err(|failure| failure.advise("log in again: sentinel login --user NAME"))?;
    let context = with_pair(found.context, &pair);
    context::write(&found.path, &context)?;
    Ok(Found {
        context,
        path: found.path,
    })
}

/// A context with these tokens.
pub fn with_pair(context: Context, pair: &TokensView) -> Context {
    let life_ms = i64::try_from(pair.expires_in.saturating_mul(1_000)).unwrap_or(i64::MAX);
    Context {
        token: pair.access_token.clone(),
        refresh_token: Some(pair.refresh_token.clone()),
        token_ends: Some(Wall(context::now_ms().saturating_add(life_ms))),
        ..context
    }
}

/// The same hub, asked by nobody: the ways in take no token.
pub fn nobody(context: &Context) -> Context {
    Context {
        token: String::new(),
        ..context.clone()
    }
}

fn lock(path: &Path) -> Result<File, Failure> {
    let beside = path.with_extension("lock");
    let cannot = |cause: std::io::Error| {
        Failure::new(Exit::Failure, format!("cannot lock `{}`", beside.display())).because(cause)
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&beside)
        .map_err(cannot)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| cannot(error.into()))?;
    Ok(file)
}
