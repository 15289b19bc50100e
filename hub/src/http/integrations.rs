//! What leaves the hub: consumers with how far they are, outgoing webhooks and their deliveries.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hub_core::webhooks::{Delivery, DeliveryLog, Webhook, WebhookRequest};
use hub_core::{Answer, Request};
use wire::api::{ConsumerView, DeliveryState, DeliveryView, List, NewWebhook, ResendRequest, WebhookView};
use wire::change::Caller;

use super::answer::{if_match, json, read_json};
use super::{App, Failure};
use crate::deliveries::{check_url, end, shown};

/// Every consumer of what arrives, with how far it is.
pub async fn consumers(State(app): State<App>) -> Result<Json<List<ConsumerView>>, Failure> {
    let count = app.read(|store| store.arrivals()).await?.count;
    let now = app.now();
    let links = app.consumers.links();
    let items = links.iter().map(|link| {
        let standing = link.standing(count, now);
        let lag = standing.lag_ms.map(std::time::Duration::from_millis);
        ConsumerView {
            name: link.name().to_owned(),
            target: link.target().to_owned(),
            up: standing.up,
            lag_entries: standing.lag_entries,
            lag_seconds: lag.map(|lag| lag.as_secs_f64()),
            delivered: standing.delivered,
            failures: standing.failures,
            error: standing.error,
        }
    });
    Ok(Json(List {
        items: items.collect(),
        next_cursor: None,
    }))
}

/// Every outgoing webhook, the oldest first.
pub async fn list(State(app): State<App>) -> Json<List<WebhookView>> {
    let all = app.hooks.all();
    Json(List {
        items: all.iter().map(|state| view(&state.0, &state.1)).collect(),
        next_cursor: None,
    })
}

/// Sends events somewhere from now on; the answer has the secret that signs them, once.
pub async fn add(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<WebhookView>, Failure> {
    let asked: NewWebhook = read_json(body)?;
    check_url(&asked.url, app.webhooks_to_local).map_err(|detail| Failure::field("/url", detail))?;
    let from = app.read(end).await?;
    let hook = Webhook {
        id: uuid::Uuid::now_v7().to_string(),
        name: asked.name,
        url: asked.url,
        types: asked.types,
        secret_version: 1,
        created_at: app.now(),
        from,
    };
    let hook = change(&app, caller, WebhookRequest::Add(hook)).await?;
    Ok(with_secret(&app, &hook))
}

/// One outgoing webhook.
pub async fn one(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let (hook, log) = &*known(&app, &name)?;
    Ok(json(&headers, &view(hook, log)))
}

/// Sends nothing there any more.
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<WebhookView>, Failure> {
    let (hook, log) = &*known(&app, &name)?;
    if_match(&headers, &view(hook, log))?;
    let hook = change(&app, caller, WebhookRequest::Remove { name }).await?;
    Ok(Json(view(&hook, log)))
}

/// Signs with another secret from now on, and with the former one beside it.
pub async fn rotate(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<WebhookView>, Failure> {
    known(&app, &name)?;
    let hook = change(&app, caller, WebhookRequest::Rotate { name }).await?;
    Ok(with_secret(&app, &hook))
}

/// What waits, what was given up, and what came through lately, in this order, each newest first.
pub async fn deliveries(State(app): State<App>, Path(name): Path<String>) -> Result<Json<List<DeliveryView>>, Failure> {
    let (_, log) = &*known(&app, &name)?;
    let lists = [
        (&log.pending, DeliveryState::Pending),
        (&log.dead, DeliveryState::Dead),
        (&log.recent, DeliveryState::Delivered),
    ];
    let items = lists.into_iter().flat_map(|(deliveries, state)| {
        let newest_first = deliveries.iter().rev();
        newest_first.map(move |delivery| delivery_view(delivery, state))
    });
    Ok(Json(List {
        items: items.collect(),
        next_cursor: None,
    }))
}

/// Puts dead letters on their way again.
pub async fn resend(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<WebhookView>, Failure> {
    let ResendRequest { event } = read_json(body)?;
    known(&app, &name)?;
    let what = WebhookRequest::Resend {
        name: name.clone(),
        event,
    };
    change(&app, caller, what).await?;
    let (hook, log) = &*known(&app, &name)?;
    Ok(Json(view(hook, log)))
}

async fn change(app: &App, caller: Caller, what: WebhookRequest) -> Result<Webhook, Failure> {
    match app.change(Request::Webhooks { caller, what }).await? {
        Answer::Webhook(hook) => Ok(*hook),
        other => Err(Failure::internal(format!(
            "the core answered {other:?} about a webhook"
        ))),
    }
}

fn known(app: &App, name: &str) -> Result<std::sync::Arc<(Webhook, DeliveryLog)>, Failure> {
    app.hooks.named(name).ok_or_else(|| {
        Failure::not_found(format!(
            "there is no webhook `{name}`: `sentinel webhook list` shows all"
        ))
    })
}

fn with_secret(app: &App, hook: &Webhook) -> Json<WebhookView> {
    let state = app.hooks.named(&hook.name);
    let mut view = match state {
        Some(state) => view(hook, &state.1),
        None => view(hook, &DeliveryLog::default()),
    };
    view.secret = Some(app.secrets.text(hook));
    Json(view)
}

fn view(hook: &Webhook, log: &DeliveryLog) -> WebhookView {
    WebhookView {
        name: hook.name.clone(),
        url: shown(&hook.url),
        types: hook.types.clone(),
        created_at: hook.created_at,
        secret_version: hook.secret_version,
        delivered: log.delivered,
        pending: log.pending.len() as u64,
        dead: log.dead.len() as u64,
        dropped: log.dropped,
        next_try: log.next_try(),
        secret: None,
    }
}

fn delivery_view(delivery: &Delivery, state: DeliveryState) -> DeliveryView {
    DeliveryView {
        event: delivery.event.clone(),
        kind: delivery.kind.clone(),
        state,
        attempts: delivery.attempts,
        at: delivery.at,
        status: delivery.status,
        error: delivery.error.clone(),
        next_try: delivery.next,
    }
}
