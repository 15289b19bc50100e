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
        let version = kubernetes_version(self.package, &go_mod);
        let linked = format!("-ldflags=-s -w{version}");
        let mut made_from = vec![go_mod.as_str(), &go_sum, self.package, self.tags];
        if !version.is_empty() {
            made_from.push(&version);
        }
        let made = cache.once(self.program, &made_from, self.takes, progress, |part| {
            let mut go = Command::new("go");
            go.current_dir(&folder)
                .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", &linked, "-o"])
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

/// Flags that tell a Kubernetes program its own version; without them it says 0.0.0, and Helm refuses it. Nothing for other packages.
fn kubernetes_version(package: &str, go_mod: &str) -> String {
    let lines = go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
    let pinned = lines.filter_map(|line| line.strip_prefix("k8s.io/kubernetes v"));
    let version = pinned.filter_map(|rest| rest.split_whitespace().next()).next();
    let Some(version) = version.filter(|_| package.starts_with("k8s.io/kubernetes/")) else {
        return String::new();
    };
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let own = "k8s.io/component-base/version";
    format!(" -X {own}.gitVersion=v{version} -X {own}.gitMajor={major} -X {own}.gitMinor={minor}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubernetes_program_is_linked_with_the_version_that_is_pinned() {
        let go_mod = "module x\n\nrequire (\n\tk8s.io/kubernetes v1.36.3\n)\n";
        let flags = kubernetes_version("k8s.io/kubernetes/cmd/kube-apiserver", go_mod);
        assert!(
            flags.contains("gitVersion=v1.36.3") && flags.ends_with("gitMinor=36"),
            "{flags}"
        );
        assert_eq!(kubernetes_version("sigs.k8s.io/kwok/cmd/kwok", go_mod), "");
    }
}
