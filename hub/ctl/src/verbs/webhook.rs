//! `webhook`: where events are sent, and what became of each.
//!
//! A secret is printed once, alone on standard output.

use wire::api::{DeliveryView, List, NewWebhook, ResendRequest, WebhookView};

use crate::args::Webhook;
use crate::client::{Client, escaped};
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::session::Session;

/// `sentinel webhook …`.
pub async fn run(session: &Session, what: &Webhook, output: &mut Output) -> Result<Exit, Failure> {
    let hub = session.hub()?;
    match what {
        Webhook::List => {
            let all: List<WebhookView> = Client::get(&hub, "/webhooks").await?;
            if all.items.is_empty() && output.for_people() {
                say("there is none yet: sentinel webhook add NAME https://HOST/PATH");
            }
            output.list(&all.items)?;
        }
        Webhook::Add { name, url, types } => {
            let request = NewWebhook {
                name: name.clone(),
                url: url.clone(),
                types: types.clone(),
            };
            let made = hub.post("/webhooks", &request, session.patience()).await?;
            secret(&made, output)?;
        }
        Webhook::Remove { name } => {
            let gone: WebhookView = hub.delete(&path(name, "")).await?;
            output.single(&gone)?;
        }
        Webhook::Rotate { name } => {
            let empty = serde_json::Map::new();
            let changed = hub.post(&path(name, "/rotate"), &empty, session.patience()).await?;
            secret(&changed, output)?;
        }
        Webhook::Deliveries { name } => {
            let all: List<DeliveryView> = Client::get(&hub, &path(name, "/deliveries")).await?;
            output.list(&all.items)?;
        }
        Webhook::Resend { name, event } => {
            let request = ResendRequest { event: event.clone() };
            let changed: WebhookView = hub.post(&path(name, "/resend"), &request, session.patience()).await?;
            output.single(&changed)?;
        }
    }
    Ok(Exit::Ok)
}

fn path(name: &str, rest: &str) -> String {
    format!("/webhooks/{}{rest}", escaped(name))
}

fn secret(view: &WebhookView, output: &mut Output) -> Result<(), Failure> {
    let secret = view.secret.clone().unwrap_or_default();
    output.one(view, &view.name, || format!("{secret}\n"))?;
    if output.for_people() {
        say("shown once: the receiver checks the header webhook-signature with it, as Standard Webhooks says");
    }
    Ok(())
}
