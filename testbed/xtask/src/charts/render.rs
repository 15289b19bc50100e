//! Helm and the schemas of Kubernetes, as programs: Helm is built from its Go module, the schemas come in a Python package.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::setup;
use crate::shell::{command, root};

/// Reads YAML documents from standard input and prints them as one JSON list.
const TO_JSON: &str = "import json, sys, yaml; print(json.dumps([d for d in yaml.safe_load_all(sys.stdin) if d]))";
/// Checks a JSON list of objects against one release of Kubernetes; unknown fields are errors.
const VALIDATE: &str = "
import json, sys, kubernetes_validate
wrong = []
for thing in json.load(sys.stdin):
    try:
        kubernetes_validate.validate(thing, sys.argv[1], strict=True)
    except Exception as error:
        wrong.append(f\"{thing['kind']} {thing['metadata']['name']}: {error}\")
print('\\n'.join(wrong), file=sys.stderr)
sys.exit(bool(wrong))
";

/// Checks a YAML file against a JSON schema.
const KEEPS: &str = "
import json, sys, jsonschema, yaml
jsonschema.validate(yaml.safe_load(open(sys.argv[1])), json.load(open(sys.argv[2])))
";

/// Both programs.
pub struct Helm {
    helm: PathBuf,
    python: PathBuf,
}

impl Helm {
    /// Builds and installs what is missing.
    pub fn ready() -> Result<Self, String> {
        Ok(Self {
            helm: setup::helm()?,
            python: setup::python()?,
        })
    }

    /// `helm lint --strict` with each of the chart's sets of values.
    pub fn lint(&self, chart: &str) -> Result<(), String> {
        for values in ["default", "full"] {
            let folder = folder(chart);
            let mut lint = command(&self.helm.to_string_lossy());
            lint.args(["lint", "--strict", "--quiet"]).arg(&folder);
            lint.arg("-f").arg(folder.join(format!("ci/{values}-values.yaml")));
            piped(&mut lint, "")?;
        }
        Ok(())
    }

    /// Packs the chart as it is shipped, and prints its size.
    pub fn package(&self, chart: &str) -> Result<(), String> {
        let into = root().join("target/packages");
        fs::create_dir_all(&into).map_err(|cause| format!("cannot make `{}`: {cause}", into.display()))?;
        let mut package = command(&self.helm.to_string_lossy());
        package
            .arg("package")
            .arg(folder(chart))
            .arg("--destination")
            .arg(&into);
        let said = piped(&mut package, "")?;
        let path = said
            .rsplit_once(": ")
            .map_or(said.trim(), |(_, path)| path.trim())
            .to_owned();
        let size = fs::metadata(&path)
            .map_err(|cause| format!("cannot look at `{path}`: {cause}"))?
            .len();
        println!("  {path} {:.1} kB", size as f64 / 1e3);
        Ok(())
    }

    /// The chart as Helm renders it with one of its sets of values and more arguments.
    pub fn text(&self, chart: &str, values: &str, more: &[&str]) -> Result<String, String> {
        let folder = folder(chart);
        let mut render = command(&self.helm.to_string_lossy());
        render
            .args(["template", "test", "--namespace", "sentinel-system"])
            .arg(&folder);
        render.arg("-f").arg(folder.join(format!("ci/{values}-values.yaml")));
        piped(render.args(more), "")
    }

    /// The same with more values on top, which need not fit the chart's schema.
    pub fn with(&self, chart: &str, values: &str, more: &Value) -> Result<String, String> {
        let path = root().join("target/charts-values.json");
        fs::write(&path, more.to_string()).map_err(|cause| format!("cannot write `{}`: {cause}", path.display()))?;
        let path = path.to_string_lossy().into_owned();
        self.text(chart, values, &["--skip-schema-validation", "-f", &path])
    }

    /// The objects of a rendering.
    pub fn objects(&self, chart: &str, values: &str, more: &[&str]) -> Result<Vec<Value>, String> {
        let text = self.text(chart, values, more)?;
        let json = self.json(&text)?;
        json.as_array()
            .cloned()
            .ok_or_else(|| format!("{chart} renders no list"))
    }

    /// The chart's own values.
    pub fn values(&self, chart: &str) -> Result<Value, String> {
        self.document(&folder(chart).join("values.yaml"))
    }

    /// The chart's own values with one of its sets on top.
    pub fn effective(&self, chart: &str, values: &str) -> Result<Value, String> {
        let mut all = self.values(chart)?;
        merge(
            &mut all,
            &self.document(&folder(chart).join(format!("ci/{values}-values.yaml")))?,
        );
        Ok(all)
    }

    /// Checks objects against the schemas of one Kubernetes release.
    pub fn validate(&self, kubernetes: &str, objects: &[&Value]) -> Result<(), String> {
        let mut validate = command(&self.python.to_string_lossy());
        piped(validate.args(["-c", VALIDATE, kubernetes]), &json!(objects).to_string()).map(drop)
    }

    /// Checks a compose file against the specification's own schema, which its reference implementation carries.
    pub fn compose(&self, file: &Path) -> Result<(), String> {
        let schema =
            setup::go_module("github.com/compose-spec/compose-go/v2@v2.16.2")?.join("schema/compose-spec.json");
        let mut keeps = command(&self.python.to_string_lossy());
        piped(keeps.args(["-c", KEEPS]).arg(file).arg(schema), "").map(drop)
    }

    fn document(&self, path: &Path) -> Result<Value, String> {
        let text = fs::read_to_string(path).map_err(|cause| format!("cannot read `{}`: {cause}", path.display()))?;
        Ok(self.json(&text)?[0].take())
    }

    fn json(&self, yaml: &str) -> Result<Value, String> {
        let text = piped(command(&self.python.to_string_lossy()).args(["-c", TO_JSON]), yaml)?;
        serde_json::from_str(&text).map_err(|cause| format!("cannot read what Python printed: {cause}"))
    }
}

fn folder(chart: &str) -> PathBuf {
    root().join("charts").join(chart)
}

fn merge(all: &mut Value, more: &Value) {
    match (all, more) {
        (Value::Object(all), Value::Object(more)) => {
            for (name, value) in more {
                merge(all.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (all, more) => *all = more.clone(),
    }
}

/// Gives a program this input and returns its output; what it says on standard error is the reason when it fails.
fn piped(program: &mut std::process::Command, input: &str) -> Result<String, String> {
    let name = program.get_program().to_string_lossy().into_owned();
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| format!("cannot start `{name}`: {cause}"))?;
    let mut stdin = child.stdin.take().expect("it was asked for a pipe");
    let input = input.to_owned();
    // A thread, because a program may print before it has read everything. One that reads nothing closes the pipe, which is no fault.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child
        .wait_with_output()
        .map_err(|cause| format!("cannot wait for `{name}`: {cause}"))?;
    drop(writer.join());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{} {}", text(&output.stdout), text(&output.stderr)))
    }
}
