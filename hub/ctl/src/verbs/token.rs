//! `token create`: a secret that works once. It is printed once, alone on standard output, and never kept here.

use wire::api::{TokenRequest, TokenView};

use crate::args::Token;
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::rows::time;
use crate::session::Session;

/// `sentinel token create`: one line, which enrols one node.
pub async fn create(session: &Session, what: &Token, output: &mut Output) -> Result<Exit, Failure> {
    let Token::Create { name, site, ttl } = what;
    let request = TokenRequest {
        name: name.as_ref().map(ToString::to_string),
        site: site.clone(),
        ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
        label: None,
    };
    let view: TokenView = session.hub()?.post("/tokens", &request, session.patience()).await?;
    output.one(&view, &view.token, || format!("{}\n", view.join_line))?;
    if output.for_people() {
        say(&format!(
            "run this line on the new node; the token works once, until {}",
            time(view.ends)
        ));
    }
    Ok(Exit::Ok)
}
