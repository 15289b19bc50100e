//! Programs and folders out of Go modules, pinned by the `go.mod` and `go.sum` files under `testbed/services/go`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Cache, Progress, ServiceError};

/// One program that Go builds.
#[derive(Debug, Clone, Copy)]
pub struct GoBuild {
    /// Folder under `testbed/services/go` whose `go.mod` requires the package.
    pub module: &'static str,
    /// The package to build.
    pub package: &'static str,
    /// Name of the program.
    pub program: &'static str,
    /// Whether it needs a C compiler.
    pub cgo: bool,
    /// Build tags, separated by commas.
    pub tags: &'static str,
    /// Values of string variables that a release sets while linking, such as a version: `import/path.name=value`.
    pub values: &'static [&'static str],
    /// How long a first build takes on two cores, for people.
    pub takes: &'static str,
}

impl GoBuild {
    /// The path of the program, built now or in an earlier run.
    pub fn ready(&self, cache: &Cache, progress: Progress<'_>) -> Result<PathBuf, ServiceError> {
        let folder = module_root(self.module);
        let pins = ["go.mod", "go.sum"].map(|file| read(&folder.join(file)));
        let [go_mod, go_sum] = pins;
        let (go_mod, go_sum) = (go_mod?, go_sum?);
        let values = self.values.join(" ");
        let made_from = [go_mod.as_str(), &go_sum, self.package, self.tags, &values];
        let made = cache.once(self.program, &made_from, self.takes, progress, |part| {
            let mut go = Command::new("go");
            go.current_dir(&folder)
                .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false"])
                .arg(self.values.iter().fold("-ldflags=-s -w".to_owned(), |flags, value| {
                    format!("{flags} -X {value}")
                }))
                .arg("-o")
                .arg(part.join(self.program))
                .env("CGO_ENABLED", if self.cgo { "1" } else { "0" });
            if !self.tags.is_empty() {
                go.args(["-tags", self.tags]);
            }
            go.arg(self.package);
            output(self.program, &mut go).map(drop)
        })?;
        Ok(made.join(self.program))
    }
}

/// Where the files of a required Go module lie, after downloading it if need be.
pub fn go_module_folder(module: &str, path: &str) -> Result<PathBuf, ServiceError> {
    let folder = module_root(module);
    output(
        path,
        Command::new("go").current_dir(&folder).args(["mod", "download", path]),
    )?;
    let listed = output(
        path,
        Command::new("go")
            .current_dir(&folder)
            .args(["list", "-m", "-f", "{{.Dir}}", path]),
    )?;
    Ok(PathBuf::from(listed.trim()))
}

/// The folder of a module's files, such as `example.org/module@v1.2.3`, after downloading it if need be.
pub fn downloaded(module: &str) -> Result<PathBuf, ServiceError> {
    let told = output(module, Command::new("go").args(["mod", "download", "-json", module]))?;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_default();
    told["Dir"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| ServiceError::Make {
            name: module.to_owned(),
            output: "go names no folder of it".to_owned(),
        })
}

fn module_root(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(module)
}

fn read(path: &Path) -> Result<String, ServiceError> {
    fs::read_to_string(path).map_err(ServiceError::file("read", path))
}

/// Runs a command to its end and gives what it printed.
fn output(name: &str, command: &mut Command) -> Result<String, ServiceError> {
    let done = command.output().map_err(|cause| ServiceError::Run {
        program: "go".to_owned(),
        hint: "install Go 1.26 or newer from https://go.dev/dl",
        cause,
    })?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&done.stderr);
    let lines: Vec<&str> = errors.lines().rev().take(10).collect();
    let output = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
    Err(ServiceError::Make {
        name: name.to_owned(),
        output,
    })
}
