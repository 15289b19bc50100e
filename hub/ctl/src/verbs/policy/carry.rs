//! `export` and `import`: policy in a file, for nodes that no network reaches.
//!
//! The node judges a carried parcel like one of the hub: signatures, versions, generation. This only carries.

use std::path::Path;

use wire::AgentId;
use wire::api::ImportView;
use wire::parcel::{MAX_PARCEL_BYTES, Parcel};

use super::files;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::session::Session;

/// `sentinel policy export --out FILE [--node NODE]`.
pub async fn export(
    session: &Session,
    out: &Path,
    node: Option<&AgentId>,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let client = match (node, session.is_local()) {
        (None, false) => session.hub()?,
        (node, _) => session.one_node(node)?,
    };
    let bytes = client.bytes("/policies/export").await?;
    let parcel = Parcel::decode(&bytes).map_err(|cause| {
        Failure::new(Exit::Failure, format!("{} exports something unexpected", client.name)).because(cause)
    })?;
    files::write_over(out, &bytes)?;
    let view = super::sign::look(out, &parcel, None, None)?;
    output.one(&view, &out.display().to_string(), || view.text(out))?;
    Ok(Exit::Ok)
}

/// `sentinel policy import FILE --node NODE`, or with `--local` or `--socket`.
pub async fn import(
    session: &Session,
    file: &Path,
    node: Option<&AgentId>,
    output: &mut Output,
) -> Result<Exit, Failure> {
    bring(&session.one_node(node)?, file, output).await
}

async fn bring(client: &Client, file: &Path, output: &mut Output) -> Result<Exit, Failure> {
    let bytes = files::read(file, MAX_PARCEL_BYTES)?;
    // A torn copy is told here, with the file's name.
    files::parcel(file)?;
    let view: ImportView = client.post_bytes("/policies/import", bytes).await?;
    let generation = view.bundle.generation;
    output.one(&view, &generation.to_string(), || {
        format!(
            "{}: generation {generation} is active, digest {}, role document {}\n",
            view.node,
            view.bundle.digest.short(),
            view.roles_version
        )
    })?;
    say("older parcels are refused from here on");
    Ok(Exit::Ok)
}
