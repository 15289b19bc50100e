//! `whoami`, `user`, `api-token`, `access`: people, and what they may do.
//!
//! A link or a token is a secret: it is printed once, alone on standard output.

use wire::api::{
    ApiTokenRequest, ApiTokenView, ChangeUserRequest, InviteView, List, MeView, NewApiTokenView, NewUserRequest,
    RotateKeysRequest, RouteView, TokenKeyView, UserView,
};

use crate::args::{Access, ApiToken, User};
use crate::client::{Client, escaped};
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::rows::time;
use crate::session::Session;

/// `sentinel whoami`.
pub async fn whoami(session: &Session, output: &mut Output) -> Result<Exit, Failure> {
    let me: MeView = session.hub()?.get("/auth/me").await?;
    output.one(&me, &me.username, || {
        let held: Vec<&str> = me.permissions.iter().map(|permission| permission.name()).collect();
        format!("{} is {}: {}\n", me.username, me.role, held.join(", "))
    })?;
    Ok(Exit::Ok)
}

/// `sentinel user …`.
pub async fn user(session: &Session, what: &User, output: &mut Output) -> Result<Exit, Failure> {
    let hub = session.hub()?;
    match what {
        User::Create { name, role, tenant } => {
            let request = NewUserRequest {
                name: name.clone(),
                role: *role,
                tenant: tenant.clone(),
                password: None,
            };
            link(&hub.post("/users", &request, session.patience()).await?, output)
        }
        User::Link { name } => {
            let path = format!("/users/{}/invite", escaped(name));
            let empty = serde_json::Map::new();
            link(&hub.post(&path, &empty, session.patience()).await?, output)
        }
        User::Change {
            name,
            role,
            disable,
            enable,
        } => {
            let request = ChangeUserRequest {
                role: *role,
                disabled: (*disable || *enable).then_some(*disable),
                password: None,
            };
            let view: UserView = hub.patch(&format!("/users/{}", escaped(name)), &request).await?;
            output.single(&view)?;
            Ok(Exit::Ok)
        }
        User::Remove { name } => {
            let view: UserView = hub.delete(&format!("/users/{}", escaped(name))).await?;
            output.single(&view)?;
            Ok(Exit::Ok)
        }
    }
}

fn link(view: &InviteView, output: &mut Output) -> Result<Exit, Failure> {
    let url = view.url.clone().unwrap_or_default();
    output.one(view, &view.user.name, || format!("{url}\n"))?;
    if output.for_people() {
        let until = view.user.invited_until.map(time).unwrap_or_default();
        say(&format!(
            "{} chooses a password with this link; it works once, until {until}",
            view.user.name
        ));
    }
    Ok(Exit::Ok)
}

/// `sentinel api-token …`.
pub async fn api_token(session: &Session, what: &ApiToken, output: &mut Output) -> Result<Exit, Failure> {
    let hub = session.hub()?;
    match what {
        ApiToken::Create {
            name,
            role,
            scope,
            days,
        } => {
            let request = ApiTokenRequest {
                name: name.clone(),
                role: *role,
                scope: scope.clone(),
                days: *days,
            };
            let made: NewApiTokenView = hub.post("/api-tokens", &request, session.patience()).await?;
            output.one(&made, &made.view.id, || format!("{}\n", made.token))?;
            if output.for_people() {
                say(&format!("shown once; it works until {}", time(made.view.ends)));
            }
        }
        ApiToken::Revoke { id } => {
            let gone: ApiTokenView = hub.delete(&format!("/api-tokens/{}", escaped(id))).await?;
            output.single(&gone)?;
        }
    }
    Ok(Exit::Ok)
}

/// `sentinel access …`.
pub async fn access(session: &Session, what: &Access, output: &mut Output) -> Result<Exit, Failure> {
    let hub = session.hub()?;
    match what {
        Access::Matrix => {
            let rows: List<RouteView> = Client::get(&hub, "/access").await?;
            output.list(&rows.items)?;
        }
        Access::Keys => {
            let rows: List<TokenKeyView> = Client::get(&hub, "/token-keys").await?;
            output.list(&rows.items)?;
        }
        Access::RotateKeys { reason, stolen } => {
            let request = RotateKeysRequest {
                reason: reason.clone(),
                stolen: *stolen,
            };
            let rows: List<TokenKeyView> = hub.post("/token-keys/rotate", &request, session.patience()).await?;
            output.list(&rows.items)?;
        }
    }
    Ok(Exit::Ok)
}
