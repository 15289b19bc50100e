//! `sentinel policy`: everything that is done with bundles, from the first line to the node that no network reaches.
//!
//! What is judged here is judged by the same `policy` crate that agents and hub use. Only `publish`, `export`, `import`,
//! `simulate --since` and `break-glass open` and `close` ask anybody.
//!
//! Read next: `policy/decide.rs` (questions in, decisions out), `policy/sign.rs` (who signs), `policy/publish.rs` (the hub).

mod carry;
mod decide;
pub(super) mod files;
mod glass;
mod keys;
mod offline;
mod publish;
mod sign;
mod simulate;

use crate::args::{Keys, Policy};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::session::Session;

/// The verbs that need neither hub nor context.
pub fn offline(what: &Policy, output: &mut Output) -> Result<Exit, Failure> {
    match what {
        Policy::Init(init) => keys::init(init, output),
        Policy::Check { files } => offline::check(files, output),
        Policy::Test { cases, bundle } => offline::test(cases, bundle.as_deref(), output),
        Policy::Decide {
            bundle,
            input,
            exit_code,
        } => decide::decide(bundle, input, *exit_code, output),
        Policy::Explain { kind } => offline::explain(kind.as_deref(), output),
        Policy::Diff { old, new } => offline::diff(old, new, output),
        Policy::Schema => offline::schema(output),
        Policy::Sign(sign) => sign::sign(sign, output),
        Policy::Verify { file, roles, root_pin } => sign::verify(file, roles.as_deref(), *root_pin, output),
        Policy::Simulate(simulate) => decide::simulate(simulate, output),
        Policy::Keys {
            what: Keys::List { file },
        } => keys::list(file, output),
        Policy::Keys {
            what: Keys::Rotate(rotate),
        } => keys::rotate(rotate, output),
        Policy::BreakGlass { what } => glass::offline(what, output),
        Policy::Publish { .. } | Policy::Rollback { .. } | Policy::Export { .. } | Policy::Import { .. } => Err(
            Failure::new(Exit::Usage, "this verb asks a hub: give its context with --context"),
        ),
    }
}

/// The verbs that ask a hub or a node.
pub async fn asked(session: &Session, what: &Policy, output: &mut Output) -> Result<Exit, Failure> {
    match what {
        // Without a file it is `--starter`.
        Policy::Publish { file, wait, .. } => publish::publish(session, file.as_deref(), *wait, output).await,
        Policy::Rollback { generation, wait } => publish::rollback(session, *generation, *wait, output).await,
        Policy::Export { out, node } => carry::export(session, out, node.as_ref(), output).await,
        Policy::Import { file, node } => carry::import(session, file, node.as_ref(), output).await,
        Policy::BreakGlass { what } => glass::asked(session, what, output).await,
        Policy::Simulate(simulate) => simulate::hub(session, simulate, output).await,
        other => offline(other, output),
    }
}
