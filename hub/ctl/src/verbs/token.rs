//! `token`: secrets that work once. Each is printed once, alone on standard output, and never kept here; lists show the beginning of
//! its hash.

use wire::api::{JoinTokenView, List, TokenRequest, TokenView};

use crate::args::Token;
use crate::client::escaped;
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::rows::time;
use crate::session::Session;

/// `sentinel token …`.
pub async fn run(session: &Session, what: &Token, output: &mut Output) -> Result<Exit, Failure> {
    let hub = session.hub()?;
    match what {
        Token::Create { name, site, ttl, label } => {
            let request = TokenRequest {
                name: name.as_ref().map(ToString::to_string),
                site: site.clone(),
                ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
                label: label.clone(),
            };
            let view: TokenView = hub.post("/tokens", &request, session.patience()).await?;
            line(&view, "run this line on the new node", output)?;
        }
        Token::List => {
            let tokens: List<JoinTokenView> = hub.get("/tokens").await?;
            output.list(&tokens.items)?;
        }
        Token::Revoke { id } => {
            let gone: JoinTokenView = hub.delete(&format!("/tokens/{}", escaped(id))).await?;
            output.single(&gone)?;
        }
    }
    Ok(Exit::Ok)
}

/// Prints a join line, and what to do with it.
pub fn line(view: &TokenView, what_to_do: &str, output: &mut Output) -> Result<(), Failure> {
    output.one(view, &view.token, || format!("{}\n", view.join_line))?;
    if output.for_people() {
        say(&format!(
            "{what_to_do}; the token works once, until {}. With `--token-file FILE` or `--token-file -` instead of `--token` it \
             stands in no process list",
            time(view.ends)
        ));
    }
    Ok(())
}
