//! Whether the process lives, and whether it can do its work.

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::{App, Failure};

/// The process answers.
pub async fn live() -> &'static str {
    "ok\n"
}

/// The store accepts entries and the core answers.
pub async fn ready(State(app): State<App>) -> Response {
    if app.store.trouble().is_some() {
        // The store notices that its trouble is over when it writes; with no agent near, this is the only write.
        let tried = app.blocking(|app| Ok(app.store.put_setting("ready", b"")?)).await;
        if let Err(failure) = tried {
            return failure.into_response();
        }
    }
    match app.hub.policy().await {
        Ok(_) => "ok\n".into_response(),
        Err(stopped) => Failure::from(stopped).into_response(),
    }
}
