//! `cargo xtask charts`: the Helm charts, the dashboards and the alert rules, held against what Kubernetes, Helm and Prometheus say.
//!
//! Needs no cluster: rendering is Helm's own, the schemas are those of each Kubernetes release, the rules run in promtool. Whether a
//! real API server admits the objects is another test's question, and so is whether a running hub exposes what panels ask for.
//!
//! Read next: `charts/render.rs` (Helm), `charts/README.md` (what the charts promise).

mod render;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::shell::{command, output, root, run};
use render::Helm;

const CHARTS: [&str; 2] = ["sentinel-core", "sentinel-agent"];
/// The Kubernetes releases that the charts name.
const KUBERNETES: [&str; 5] = ["1.33", "1.34", "1.35", "1.36", "1.37"];
/// Objects of operators: their schemas are not Kubernetes' own.
const OPERATORS: [&str; 2] = ["monitoring.coreos.com/v1", "cert-manager.io/v1"];
/// Settings that a chart must refuse, and a part of what it says.
const REFUSED: &[(&str, &str, &str)] = &[
    ("sentinel-core", "hub.prt=7443", "'prt' not allowed"),
    ("sentinel-core", "hub.port=0", "hub/port"),
    ("sentinel-core", "image.digest=sha256:abc", "image/digest"),
    ("sentinel-core", "service.type=Public", "service/type"),
    ("sentinel-core", "hub.trustDomain=A_B", "hub/trustDomain"),
    ("sentinel-core", "patchbot.replicas=-1", "patchbot/replicas"),
    (
        "sentinel-core",
        "patchbot.enabled=true",
        "patchbot.existingSecret is the secret",
    ),
    ("sentinel-agent", "hub.caPin=abc", "hub/caPin"),
    (
        "sentinel-agent",
        "hub.address=",
        "hub.address is the HOST:PORT of the hub",
    ),
    (
        "sentinel-agent",
        "join.existingSecret=",
        "join.existingSecret is the secret",
    ),
    ("sentinel-agent", "join.token=sjt_x", "'token' not allowed"),
];

/// Runs every check; returns how many held, or everything that did not.
pub fn check() -> Result<u64, String> {
    let helm = Helm::ready()?;
    let mut findings = Findings::default();
    for chart in CHARTS {
        findings.note(&format!("{chart} has no lint"), helm.lint(chart));
        findings.note(&format!("{chart} renders alike twice"), renders_alike(&helm, chart));
        findings.note(&format!("{chart} is packed"), helm.package(chart));
        findings.note(&format!("{chart} uses every value"), dead_values(&helm, chart));
        for kubernetes in KUBERNETES {
            let sentence = format!("{chart} is valid for Kubernetes {kubernetes}");
            findings.note(&sentence, valid(&helm, chart, kubernetes));
        }
    }
    for (chart, setting, part) in REFUSED {
        findings.note(
            &format!("{chart} refuses {setting}"),
            refuses(&helm, chart, setting, part),
        );
    }
    findings.note("the hub's pods keep Pod Security `restricted`", restricted(&helm));
    findings.note("every folder of the host is documented", host_paths(&helm));
    findings.note("every object has the labels app, component and tenant", labels(&helm));
    findings.note("dashboards are as make.py writes them", dashboards());
    findings.note("the rules are valid", promtool("check"));
    findings.note("the rules fire when they should and only then", promtool("test"));
    findings.note("the chart has the same rules", same_rules());
    findings.note("every alert has its runbook", runbooks());
    let compose = root().join("charts/compose/compose.yaml");
    findings.note(
        "the compose file keeps the compose specification",
        helm.compose(&compose),
    );
    findings.result()
}

/// What held, and what did not.
#[derive(Default)]
struct Findings {
    held: u64,
    broken: Vec<String>,
}

impl Findings {
    fn note(&mut self, sentence: &str, result: Result<(), String>) {
        match result {
            Ok(()) => {
                println!("✓ {sentence}");
                self.held += 1;
            }
            Err(reason) => {
                println!("✕ {sentence}: {reason}");
                self.broken.push(format!("{sentence}: {reason}"));
            }
        }
    }

    fn result(self) -> Result<u64, String> {
        if self.broken.is_empty() {
            Ok(self.held)
        } else {
            Err(self.broken.join("\n  "))
        }
    }
}

fn renders_alike(helm: &Helm, chart: &str) -> Result<(), String> {
    let render = || helm.text(chart, "full", &[]);
    if render()? == render()? {
        Ok(())
    } else {
        Err("two renderings differ: something in it is random or asks the time".to_owned())
    }
}

fn valid(helm: &Helm, chart: &str, kubernetes: &str) -> Result<(), String> {
    for values in ["default", "full"] {
        let objects = helm.objects(chart, values, &["--kube-version", kubernetes])?;
        let own: Vec<&Value> = objects
            .iter()
            .filter(|object| !OPERATORS.contains(&text(&object["apiVersion"]).as_str()))
            .collect();
        helm.validate(kubernetes, &own)?;
    }
    Ok(())
}

fn refuses(helm: &Helm, chart: &str, setting: &str, part: &str) -> Result<(), String> {
    match helm.text(chart, "default", &["--set", setting]) {
        Ok(_) => Err("it is rendered".to_owned()),
        Err(reason) if reason.contains(part) => Ok(()),
        Err(reason) => Err(format!("`{part}` is not in: {reason}")),
    }
}

/// Changes each value alone; one whose change shows nowhere is a promise that nothing keeps.
fn dead_values(helm: &Helm, chart: &str) -> Result<(), String> {
    let values = helm.values(chart)?;
    let mut leaves = Vec::new();
    walk(&values, &mut Vec::new(), &mut leaves);
    let base = helm.text(chart, "full", &[])?;
    let set = helm.effective(chart, "full")?;
    let mut dead = Vec::new();
    for path in leaves {
        let here = path.iter().fold(&set, |value, name| &value[name.as_str()]);
        let changed = path
            .iter()
            .rev()
            .fold(other(here), |inner, name| json!({ name.as_str(): inner }));
        if helm.with(chart, "full", &changed)? == base {
            dead.push(path.join("."));
        }
    }
    if dead.is_empty() {
        Ok(())
    } else {
        Err(format!("nothing uses {}", dead.join(", ")))
    }
}

/// The paths of all values that are not tables of values themselves.
fn walk(value: &Value, path: &mut Vec<String>, leaves: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, inner) in map {
                path.push(name.clone());
                walk(inner, path, leaves);
                path.pop();
            }
        }
        _ => leaves.push(path.clone()),
    }
}

/// Another value of the same kind.
fn other(value: &Value) -> Value {
    match value {
        Value::Bool(value) => json!(!value),
        Value::Number(number) => json!(number.as_i64().unwrap_or(0) + 1),
        Value::String(text) => json!(format!("{text}x")),
        Value::Null => json!(30_001),
        Value::Array(items) => {
            let more = if items.first().is_some_and(Value::is_string) {
                json!("other")
            } else {
                json!({ "other": "x" })
            };
            json!([items.clone(), vec![more]].concat())
        }
        Value::Object(map) => {
            let mut map = map.clone();
            map.insert("other".to_owned(), json!("x"));
            Value::Object(map)
        }
    }
}

/// What Pod Security Standards 1.33 ask of `restricted`, for every pod of the hub's chart.
fn restricted(helm: &Helm) -> Result<(), String> {
    let objects = helm.objects("sentinel-core", "full", &[])?;
    let mut wrong = Vec::new();
    for (name, pod) in pods(&objects) {
        let security = &pod["securityContext"];
        let of_pod = security["runAsNonRoot"] == true && security["seccompProfile"]["type"] == "RuntimeDefault";
        let shares = ["hostNetwork", "hostPID", "hostIPC"]
            .iter()
            .any(|what| pod[*what] == true);
        let volumes = list(&pod["volumes"])
            .iter()
            .any(|volume| volume.get("hostPath").is_some());
        if !of_pod || shares || volumes {
            wrong.push(format!("{name} {security}"));
        }
        for container in containers(pod) {
            let security = &container["securityContext"];
            let tight = security["allowPrivilegeEscalation"] == false
                && security["readOnlyRootFilesystem"] == true
                && security["capabilities"] == json!({ "drop": ["ALL"] });
            if !tight {
                wrong.push(format!("{name}/{} {security}", text(&container["name"])));
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("; "))
    }
}

fn host_paths(helm: &Helm) -> Result<(), String> {
    let readme = read(&root().join("charts/README.md"))?;
    for values in ["default", "full"] {
        let objects = helm.objects("sentinel-agent", values, &[])?;
        for (_, pod) in pods(&objects) {
            for volume in list(&pod["volumes"]) {
                let path = text(&volume["hostPath"]["path"]);
                if !path.is_empty() && !readme.contains(&format!("`{path}`")) {
                    return Err(format!("`{path}` is not in charts/README.md"));
                }
            }
        }
    }
    Ok(())
}

fn labels(helm: &Helm) -> Result<(), String> {
    let mut wrong = Vec::new();
    for chart in CHARTS {
        for object in helm.objects(chart, "default", &[])? {
            let labels = &object["metadata"]["labels"];
            if ["app", "component", "tenant"]
                .iter()
                .any(|label| labels[*label].is_null())
            {
                wrong.push(format!(
                    "{} {}",
                    text(&object["kind"]),
                    text(&object["metadata"]["name"])
                ));
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join(", "))
    }
}

fn dashboards() -> Result<(), String> {
    run(command("python3").args(["charts/observability/make.py", "--check"]))
}

fn promtool(what: &str) -> Result<(), String> {
    let file = if what == "check" {
        "alerts.yaml"
    } else {
        "alerts.test.yaml"
    };
    output(
        command("promtool")
            .current_dir(root().join("charts/observability/rules"))
            .args([what, "rules", file]),
    )
    .map(drop)
}

fn same_rules() -> Result<(), String> {
    let ours = read(&root().join("charts/observability/rules/alerts.yaml"))?;
    if ours == read(&root().join("charts/sentinel-core/files/alerts.yaml"))? {
        Ok(())
    } else {
        Err("copy charts/observability/rules/alerts.yaml to charts/sentinel-core/files/alerts.yaml".to_owned())
    }
}

fn runbooks() -> Result<(), String> {
    let rules = read(&root().join("charts/observability/rules/alerts.yaml"))?;
    let mut seen = 0;
    for line in rules.lines() {
        let Some(url) = line.trim().strip_prefix("runbook_url: /handbook/") else {
            continue;
        };
        seen += 1;
        let page = root().join("hub/handbook/src").join(url).with_extension("md");
        if !page.is_file() {
            return Err(format!("`{}` is not there", page.display()));
        }
    }
    let alerts = rules.matches("- alert: ").count();
    if seen == alerts {
        Ok(())
    } else {
        Err(format!("{alerts} alerts name {seen} runbooks"))
    }
}

/// Every pod of these objects with the name of what makes it.
fn pods(objects: &[Value]) -> Vec<(String, &Value)> {
    objects
        .iter()
        .filter_map(|object| {
            let pod = if object["kind"] == "Pod" {
                &object["spec"]
            } else {
                &object["spec"]["template"]["spec"]
            };
            pod.is_object().then(|| (text(&object["metadata"]["name"]), pod))
        })
        .collect()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"]
        .into_iter()
        .filter_map(|kind| pod[kind].as_array())
        .flatten()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|cause| format!("cannot read `{}`: {cause}", path.display()))
}
