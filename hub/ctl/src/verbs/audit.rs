//! `audit`: who did what at the hub, and whether its journal is whole.

use wire::api::{AuditCheckView, AuditView, List, ReasonRequest};

use crate::args::{Audit, AuditList};
use crate::client::{Client, escaped};
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::rows::time;
use crate::session::Session;

/// Rows that are asked for at once.
const PAGE_ROWS: usize = 500;

/// `sentinel audit …`.
pub async fn run(session: &Session, what: &Audit, output: &mut Output) -> Result<Exit, Failure> {
    let hub = session.hub()?;
    match what {
        Audit::List(asked) => list(&hub, asked, output).await,
        Audit::Verify => shown(&hub.get("/audits/verify").await?, output),
        Audit::Accept { reason } => {
            let request = ReasonRequest { reason: reason.clone() };
            shown(&hub.post("/audits/accept", &request, session.patience()).await?, output)
        }
        Audit::Export(asked) => export(&hub, asked, output).await,
    }
}

/// `sentinel get audits` and `sentinel audit list`.
pub async fn list(hub: &Client, asked: &AuditList, output: &mut Output) -> Result<Exit, Failure> {
    let (rows, more) = read(hub, asked).await?;
    output.list(&rows)?;
    if output.for_people() && more {
        say(&format!(
            "{} rows; there are more: --limit N, or --limit 0 for all",
            rows.len()
        ));
    }
    Ok(Exit::Ok)
}

async fn export(hub: &Client, asked: &AuditList, output: &mut Output) -> Result<Exit, Failure> {
    let (mut rows, _) = read(
        hub,
        &AuditList {
            limit: 0,
            ..asked.clone()
        },
    )
    .await?;
    rows.reverse();
    for row in &rows {
        output.json_line(row)?;
    }
    Ok(Exit::Ok)
}

async fn read(hub: &Client, asked: &AuditList) -> Result<(Vec<AuditView>, bool), Failure> {
    let limit = if asked.limit == 0 { usize::MAX } else { asked.limit };
    let (mut rows, mut before) = (Vec::new(), None::<String>);
    loop {
        let path = path(asked, PAGE_ROWS.min(limit - rows.len()), before.as_deref());
        let page: List<AuditView> = hub.get(&path).await?;
        rows.extend(page.items);
        match page.next_cursor {
            Some(next) if rows.len() < limit => before = Some(next),
            next => return Ok((rows, next.is_some())),
        }
    }
}

fn path(asked: &AuditList, limit: usize, before: Option<&str>) -> String {
    let since = asked.since.map(|since| since.to_string());
    let words = [
        ("who", asked.who.as_deref()),
        ("verb", asked.verb.as_deref()),
        ("target", asked.target.as_deref()),
        ("result", asked.result.as_deref()),
        ("since", since.as_deref()),
        ("before", before),
    ];
    let mut path = format!("/audits?limit={limit}");
    for (name, value) in words.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        path.push_str(&format!("&{name}={}", escaped(value)));
    }
    path
}

fn shown(check: &AuditCheckView, output: &mut Output) -> Result<Exit, Failure> {
    let name = if check.ok { "ok" } else { "bad" };
    output.one(check, name, || text(check))?;
    Ok(if check.ok { Exit::Ok } else { Exit::Degraded })
}

/// How the journal stands, for people.
fn text(check: &AuditCheckView) -> String {
    let mut out = match check.ok {
        true => format!("{} entries, each continues the one before it\n", check.entries),
        false => format!("{} entries, not whole: {}\n", check.entries, check.detail),
    };
    if let Some(checkpoint) = &check.checkpoint {
        out.push_str(&format!(
            "signed up to {} at {}; the nodes keep it\n",
            checkpoint.entry,
            time(checkpoint.at)
        ));
    }
    for found in &check.breaks {
        let accepted = found.accepted_by.as_ref().zip(found.accepted_because.as_ref());
        out.push_str(&match accepted {
            Some((who, why)) => format!("accepted by {who} ({why}): {}\n", found.detail),
            None => "if you know why: sentinel audit accept --reason …\n".to_owned(),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stands_in_the_path() {
        let asked = AuditList {
            who: Some("ann b".to_owned()),
            result: Some("refused".to_owned()),
            ..AuditList::default()
        };
        assert_eq!(
            path(&asked, 5, Some("@hub.1.4")),
            "/audits?limit=5&who=ann%20b&result=refused&before=%40hub.1.4"
        );
    }
}
