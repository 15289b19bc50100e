//! The handbook's list of routes is the table of routes. `SENTINEL_WRITE_REFERENCE=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use crate::http::{Need, ROUTES};

fn page() -> String {
    let mut out = String::from(
        "# The API\n\nEvery route of the hub. Bodies and answers are JSON in `snake_case`; times are RFC 3339 in UTC; a list is `{\"items\": […], \"next_cursor\": …}`.\n\
         An error is a problem document (RFC 9457) with a `code`, a `detail` for people and, for each field that is not right, a pointer to it.\n\
         Answers carry an `ETag`. What is not open to anyone needs `Authorization: Bearer …` or the console's session, \
         and the permission that the last column names.\n\n\
         | method | path | who may |\n|---|---|---|\n",
    );
    for route in ROUTES {
        let who = match route.need {
            Need::Nothing => "anyone".to_owned(),
            Need::Own => "whoever signs, or has the token of remediation agents".to_owned(),
            Need::Known => "everybody who is known".to_owned(),
            Need::Permission(permission) => format!("{} and above, by `{permission}`", permission.least()),
        };
        let _ = writeln!(out, "| {} | `{}` | {who} |", route.method, route.path);
    }
    out
}

#[test]
fn the_handbook_lists_every_route() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("handbook/src/reference/api.md");
    if std::env::var_os("SENTINEL_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, page()).expect("the page is written");
    }
    let found = std::fs::read_to_string(&path).expect("the page is there");
    assert!(
        found == page(),
        "reference/api.md is old: run this test with SENTINEL_WRITE_REFERENCE=1"
    );
}
