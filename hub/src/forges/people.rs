//! What people see first of a pull request, in the words of each kind of forge: its labels, and who is asked to look at it.
//!
//! Neither is worth losing a repair for: what a forge does not take is logged, with what it said, and the pull request stays as it is. Both
//! may be asked twice.
//!
//! Sources: GitHub's REST API 2022-11-28 ("Labels", which are made when they are not there, and "Review requests"); Gitea's API 1.26 (the
//! same paths; labels must be there, reviewers are as on GitHub); GitLab's REST API v4 (a merge request's `add_labels` and `reviewer_ids`).

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, escaped, said};
use super::{ForgeError, Forges, lasting};
use crate::webhooks::Provider;

/// Colour of a label that is made where a forge makes none by itself.
const COLOUR: &str = "#8b949e";

impl Forges {
    /// Puts labels on a pull request, beside those that it has.
    pub async fn label(&self, source: &str, repository: &str, number: u64, labels: &[String]) {
        if labels.is_empty() {
            return;
        }
        if let Err(error) = self.put_labels(source, repository, number, labels).await {
            tracing::warn!(%source, %repository, number, ?labels, reason = %error.reason, "a pull request was not labelled");
        }
    }

    /// Asks people, and teams written `org/team`, to look at a pull request.
    pub async fn invite(&self, source: &str, repository: &str, number: u64, reviewers: &[String]) {
        if reviewers.is_empty() {
            return;
        }
        if let Err(error) = self.ask_for_review(source, repository, number, reviewers).await {
            tracing::warn!(
                %source, %repository, number, ?reviewers, reason = %error.reason,
                "nobody was asked to look at a pull request: `reviewers` of .patchbot.toml holds somebody whom the forge does not take"
            );
        }
    }

    async fn put_labels(
        &self,
        source: &str,
        repository: &str,
        number: u64,
        labels: &[String],
    ) -> Result<(), ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        let put = match source.provider {
            Provider::Gitlab => {
                let body = json!({"add_labels": labels.join(",")});
                api.ask(Method::PUT, &format!("/merge_requests/{number}"), Some(body))
                    .await?
            }
            Provider::Github => {
                let body = json!({"labels": labels});
                api.ask(Method::POST, &format!("/issues/{number}/labels"), Some(body))
                    .await?
            }
            Provider::Gitea | Provider::Forgejo => {
                let ids = gitea_labels(&api, labels).await?;
                let body = json!({"labels": ids});
                api.ask(Method::POST, &format!("/issues/{number}/labels"), Some(body))
                    .await?
            }
        };
        taken(put)
    }

    async fn ask_for_review(
        &self,
        source: &str,
        repository: &str,
        number: u64,
        reviewers: &[String],
    ) -> Result<(), ForgeError> {
        let (source, token) = self.find(source, repository).await?;
        let api = Api::of_repository(&self.client, source, &token, repository);
        if source.provider == Provider::Gitlab {
            let forge = Api::of_forge(&self.client, source, &token);
            let mut ids = Vec::new();
            for name in reviewers {
                let (_, found) = forge.get(&format!("/users?username={}", escaped(name))).await?;
                let id = found[0]["id"].as_u64();
                ids.push(id.ok_or_else(|| lasting("host_error", format!("the forge knows no `{name}`")))?);
            }
            let body = json!({"reviewer_ids": ids});
            return taken(
                api.ask(Method::PUT, &format!("/merge_requests/{number}"), Some(body))
                    .await?,
            );
        }
        let (teams, people): (Vec<&String>, Vec<&String>) = reviewers.iter().partition(|name| name.contains('/'));
        // Both want the team's name within its organisation.
        let teams: Vec<&str> = teams.iter().filter_map(|name| name.rsplit('/').next()).collect();
        let body = json!({"reviewers": people, "team_reviewers": teams});
        taken(
            api.ask(
                Method::POST,
                &format!("/pulls/{number}/requested_reviewers"),
                Some(body),
            )
            .await?,
        )
    }
}

/// Numbers of labels; those that are not there are made.
async fn gitea_labels(api: &Api<'_>, labels: &[String]) -> Result<Vec<u64>, ForgeError> {
    let (_, known) = api.get("/labels?limit=50").await?;
    let mut ids = Vec::new();
    for label in labels {
        let mut all = known.as_array().into_iter().flatten();
        let found = all
            .find(|one| one["name"].as_str() == Some(label))
            .and_then(|one| one["id"].as_u64());
        ids.push(match found {
            Some(id) => id,
            None => {
                let made = api
                    .make("/labels", json!({"name": label, "color": COLOUR}), "host_error")
                    .await?;
                made["id"]
                    .as_u64()
                    .ok_or_else(|| lasting("host_error", "the forge made a label without a number"))?
            }
        });
    }
    Ok(ids)
}

fn taken((status, answer): (u16, Value)) -> Result<(), ForgeError> {
    match status {
        200..=299 => Ok(()),
        _ => Err(lasting(
            "host_error",
            format!("the forge answers {status}: {}", said(&answer)),
        )),
    }
}
