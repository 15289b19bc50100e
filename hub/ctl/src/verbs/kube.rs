//! `cluster`, `deploy`, `scale` and `rollout`: asks the hub, and says how it ended, for people and for scripts.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use wire::kube::{
    ChangeDeployment, ChangeOutcome, ClusterView, DeploymentChange, DeploymentRef, RegisterCluster, RolloutView,
};

use crate::args::{ClusterVerb, RolloutVerb, StartRollout, ToldRollout};
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::session::Session;

/// How often a watched rollout is looked at, as often as the hub does.
const LOOK: Duration = Duration::from_secs(2);

/// `sentinel cluster …`.
pub async fn cluster(session: &Session, what: &ClusterVerb, output: &mut Output) -> Result<Exit, Failure> {
    match what {
        ClusterVerb::Add {
            name,
            kubeconfig,
            kube_context,
            namespace,
            prometheus,
            labels,
            prices,
        } => {
            let asked = RegisterCluster {
                name: name.clone(),
                kubeconfig: kubeconfig.clone(),
                context: kube_context.clone(),
                namespace: namespace.clone(),
                labels: labels.clone(),
                prometheus: prometheus.clone(),
                prices: prices.iter().cloned().collect(),
            };
            let view: ClusterView = session.hub()?.post("/clusters", &asked, session.patience()).await?;
            output.single(&view)?;
            Ok(if view.status == "ready" {
                Exit::Ok
            } else {
                Exit::Degraded
            })
        }
        ClusterVerb::Remove { name, reason } => {
            let asked = json!({ "reason": reason });
            let told: serde_json::Value = session
                .hub()?
                .post(&format!("/clusters/{name}/remove"), &asked, session.patience())
                .await?;
            output.one(&told, name, || {
                format!("✓ {name} is forgotten; what runs there stays\n")
            })?;
            Ok(Exit::Ok)
        }
    }
}

/// `sentinel deploy` and `sentinel scale`.
pub async fn change(
    session: &Session,
    deployment: &DeploymentRef,
    change: DeploymentChange,
    reason: &str,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let DeploymentRef {
        cluster,
        namespace,
        name,
    } = deployment;
    let path = format!("/deployments/{cluster}/{namespace}/{name}");
    let asked = ChangeDeployment {
        change,
        reason: reason.to_owned(),
    };
    let outcome: ChangeOutcome = session.hub()?.post(&path, &asked, session.patience()).await?;
    match &outcome {
        ChangeOutcome::Accepted { detail } => {
            output.one(&outcome, name, || format!("✓ {deployment}: {detail}\n"))?;
            Ok(Exit::Ok)
        }
        ChangeOutcome::Refused { reason } => Err(Failure::new(
            Exit::Conflict,
            format!("{deployment} is not changed: {reason}"),
        )),
        ChangeOutcome::Unknown { reason } => {
            let failure = Failure::new(
                Exit::Unreachable,
                format!("{deployment} may be changed or not: {reason}"),
            );
            Err(failure.advise("see what became of it: sentinel get workloads"))
        }
    }
}

/// `sentinel rollout …`.
pub async fn rollout(session: &Session, what: &RolloutVerb, output: &mut Output) -> Result<Exit, Failure> {
    let (verb, told) = match what {
        RolloutVerb::Start(start) => return begin(session, start, output).await,
        RolloutVerb::Status { id, watch } => return status(session, id, *watch, output).await,
        RolloutVerb::Promote(told) => ("promote", told),
        RolloutVerb::Pause(told) => ("pause", told),
        RolloutVerb::Resume(told) => ("resume", told),
        RolloutVerb::Abort(told) => ("abort", told),
        RolloutVerb::Undo(told) => ("undo", told),
        RolloutVerb::Retry(told) => ("retry", told),
    };
    let ToldRollout { id, reason } = told;
    let asked = json!({ "reason": reason });
    let view: RolloutView = session
        .hub()?
        .post(&format!("/rollouts/{id}/{verb}"), &asked, session.patience())
        .await?;
    output.single(&view)?;
    Ok(Exit::Ok)
}

async fn begin(session: &Session, start: &StartRollout, output: &mut Output) -> Result<Exit, Failure> {
    let mut asked = json!({ "target": start.deployment, "image": start.image, "reason": start.reason });
    if let Some(path) = &start.spec {
        let mut spec = read_spec(path)?;
        spec["image"] = json!(start.image);
        asked["spec"] = spec;
    } else if start.rolling {
        asked["strategy"] = json!("rolling");
    } else {
        asked["first_percent"] = json!(start.first);
        asked["step_percent"] = json!(start.step);
        asked["analyse_ms"] = json!(u64::try_from(start.analyse.as_millis()).unwrap_or(u64::MAX));
    }
    let view: RolloutView = session.hub()?.post("/rollouts", &asked, session.patience()).await?;
    output.single(&view)?;
    if output.for_people() {
        say(&format!("follow it: sentinel rollout status {} -w", view.id));
    }
    Ok(Exit::Ok)
}

/// What a file says of a rollout; the hub checks its fields.
fn read_spec(path: &Path) -> Result<serde_json::Value, Failure> {
    let unusable = |reason: String| Failure::new(Exit::Usage, format!("--spec: `{}` {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    let spec: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| unusable(format!("is not JSON: {error}")))?;
    if spec.is_object() {
        Ok(spec)
    } else {
        Err(unusable("is not a JSON object with `steps`".to_owned()))
    }
}

async fn status(session: &Session, id: &str, watch: bool, output: &mut Output) -> Result<Exit, Failure> {
    let client = session.hub()?;
    let path = format!("/rollouts/{id}");
    let mut view: RolloutView = client.get(&path).await?;
    let mut shown = String::new();
    while watch && !view.finished {
        let line = format!("{} step {}/{}: {}", view.phase, view.step, view.steps, view.why);
        if output.for_people() && line != shown {
            say(&line);
            shown = line;
        }
        tokio::time::sleep(LOOK).await;
        view = client.get(&path).await?;
    }
    output.single(&view)?;
    Ok(match (view.finished, view.phase.as_str()) {
        (false, _) | (true, "completed") => Exit::Ok,
        (true, _) => Exit::Failure,
    })
}
