//! Who published a bundle: kept beside it as a setting of the store, because the signed bytes do not say it.
//!
//! Never decides whether somebody may. A name that could not be kept is logged and costs the bundle nothing.

use wire::BundleRef;

use super::super::App;
use super::super::auth::Who;
use crate::store::{Store, StoreError};

fn setting(bundle: BundleRef) -> String {
    format!("published-by:{}:{}", bundle.generation, bundle.digest)
}

/// Keeps the name of who published a bundle.
pub async fn record(app: &App, bundle: BundleRef, who: Who) {
    tracing::info!(generation = %bundle.generation, digest = %bundle.digest.short(), who = who.name(), "policy published");
    let kept = app
        .read(move |store| store.put_setting(&setting(bundle), who.name().as_bytes()))
        .await;
    if kept.is_err() {
        tracing::warn!(generation = %bundle.generation, "who published it could not be kept");
    }
}

/// Who published a bundle, as far as that was kept.
pub fn of(store: &dyn Store, bundle: BundleRef) -> Result<Option<String>, StoreError> {
    let name = store.setting(&setting(bundle))?;
    Ok(name.map(|name| String::from_utf8_lossy(&name).into_owned()))
}
