//! `scaling`: deployments that the hub scales by their load.

use serde_json::json;
use wire::api::List;
use wire::kube::{DeploymentRef, ScalingView};

use crate::args::{ScalingVerb, SetScaling};
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row, say};
use crate::rows::{GOOD, REDUCED, UNKNOWN};
use crate::session::Session;
use crate::table::Cell;

/// `sentinel scaling …`.
pub async fn run(session: &Session, what: &ScalingVerb, output: &mut Output) -> Result<Exit, Failure> {
    match what {
        ScalingVerb::List => {
            let page: List<ScalingView> = session.hub()?.get("/scaling").await?;
            output.list(&page.items)?;
            if output.for_people() && page.items.is_empty() {
                say("the hub scales nothing yet: sentinel scaling set CLUSTER/NAMESPACE/NAME");
            }
            Ok(Exit::Ok)
        }
        ScalingVerb::Set(asked) => set(session, asked, output).await,
        ScalingVerb::Remove { deployment, reason } => {
            let path = format!("{}/remove", path(deployment));
            let asked = json!({ "reason": reason });
            let view: ScalingView = session.hub()?.post(&path, &asked, session.patience()).await?;
            output.one(&view, &deployment.name, || {
                format!("✓ {deployment} keeps the replicas that it has\n")
            })?;
            Ok(Exit::Ok)
        }
    }
}

async fn set(session: &Session, asked: &SetScaling, output: &mut Output) -> Result<Exit, Failure> {
    let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let body = json!({
        "spec": {
            "min": asked.min,
            "max": asked.max,
            "target_milli": asked.target_milli,
            "scale_in_after_ms": ms(asked.scale_in_after),
        },
        "query": asked.query,
        "trouble": asked.trouble,
        "forecast": !asked.no_forecast,
        "start_ms": ms(asked.start),
        "reason": asked.reason,
    });
    let path = path(&asked.deployment);
    let view: ScalingView = session.hub()?.post(&path, &body, session.patience()).await?;
    output.single(&view)?;
    Ok(Exit::Ok)
}

fn path(deployment: &DeploymentRef) -> String {
    let DeploymentRef {
        cluster,
        namespace,
        name,
    } = deployment;
    format!("/scaling/{cluster}/{namespace}/{name}")
}

impl Row for ScalingView {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["DEPLOYMENT", "REPLICAS", "WANTED", "BOUNDS", "LOAD", "EXPECTED", "WHY"];
        if wide {
            header.extend(["BY LOAD", "FLOOR", "TARGET", "QUERY", "SET BY"]);
        }
        header
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let number = |number: Option<u32>| number.map_or_else(|| UNKNOWN.to_owned(), |number| number.to_string());
        let style = if self.present == self.desired { GOOD } else { REDUCED };
        let why = match self.detail.is_empty() {
            true => self.why.clone(),
            false => format!("{}: {}", self.why, self.detail),
        };
        let mut cells = vec![
            self.name().into(),
            number(self.present).into(),
            Cell::styled(number(self.desired), style),
            format!("{}–{}", self.min, self.max).into(),
            load(self.load_milli).into(),
            load(self.expected_milli).into(),
            why.into(),
        ];
        if wide {
            cells.push(number(self.reactive).into());
            cells.push(number(self.floor).into());
            cells.push(load(Some(self.target_milli)).into());
            cells.push(self.query.clone().into());
            cells.push(self.set_by.clone().into());
        }
        cells
    }

    fn name(&self) -> String {
        format!("{}/{}/{}", self.target.cluster, self.target.namespace, self.target.name)
    }
}

fn load(milli: Option<u64>) -> String {
    milli.map_or_else(
        || UNKNOWN.to_owned(),
        |milli| format!("{}.{:03}", milli / 1_000, milli % 1_000),
    )
}
