//! The image recipes, built by buildah from what is on this machine: no registry is asked.
//!
//! The hub's stands on nothing. The agent's stands on Debian 13: its smallest root, as debootstrap makes it, plays the registry's image. PatchBot's
//! installs packages of three registries, so it is linted (step `workflows`) and built by the release workflow only.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::test::chroot::pristine;
use crate::shell::{command, output, root};

/// Programs that the recipes copy.
const PROGRAMS: [&str; 3] = ["sentinel-hub", "sentinel-agent", "sentinel"];
/// The Debian release that the recipes stand on.
const BASE: &str = "trixie";

/// Builds both and looks inside; returns how many sentences hold.
pub fn check(programs: &Path) -> Result<u64, String> {
    let store = Store::fresh()?;
    let architecture = super::architecture()?;
    for program in PROGRAMS {
        super::install(
            &programs.join(program),
            &store.folder.join("context").join(architecture).join(program),
            0o755,
        )?;
    }
    let mut held = hub(&store)?;
    // A static program starts where there is nothing else; one that was linked for this machine only does not.
    if super::test::glibc_of(programs)? == (0, 0) {
        store.says("sentinel-hub", &["/usr/bin/sentinel-hub", "--version"], "sentinel-hub ")?;
        held += 1;
    }
    Ok(held + agent(&store)?)
}

fn hub(store: &Store) -> Result<u64, String> {
    store.build("sentinel-hub", None)?;
    let told = store.inspect("sentinel-hub")?;
    let config = &told["config"];
    let wanted = [
        ("/User", json!("65532:65532")),
        ("/Entrypoint", json!(["/usr/bin/sentinel-hub"])),
        ("/Cmd/0", json!("run")),
        ("/ExposedPorts", json!({ "7443/tcp": {}, "7443/udp": {} })),
        ("/Volumes", json!({ "/var/lib/sentinel-hub": {} })),
    ];
    for (pointer, value) in &wanted {
        if config.pointer(pointer) != Some(value) {
            return Err(format!("the hub's image has not {value} at {pointer}: {config}"));
        }
    }
    Ok(1 + wanted.len() as u64)
}

fn agent(store: &Store) -> Result<u64, String> {
    let base = store.base(&pristine(BASE)?)?;
    store.build("sentinel-agent", Some(&base))?;
    let entrypoint = store.inspect("sentinel-agent")?["config"]["Entrypoint"].clone();
    if entrypoint != json!(["/usr/bin/sentinel-agent"]) {
        return Err(format!("the agent's image starts {entrypoint}"));
    }
    store.says(
        "sentinel-agent",
        &["/usr/bin/sentinel-agent", "--version"],
        "sentinel-agent ",
    )?;
    store.says("sentinel-agent", &["/usr/bin/sentinel", "--version"], "sentinel ")?;
    // The chart's init container asks by a shell.
    store.says(
        "sentinel-agent",
        &["/bin/sh", "-c", "test -d /var/lib && echo yes"],
        "yes",
    )?;
    Ok(5)
}

/// Images and containers of this test alone.
struct Store {
    folder: PathBuf,
}

impl Store {
    fn fresh() -> Result<Self, String> {
        let folder = root().join("target/images");
        let emptied = if folder.exists() {
            fs::remove_dir_all(&folder)
        } else {
            Ok(())
        };
        emptied.map_err(|cause| format!("cannot empty `{}`: {cause}", folder.display()))?;
        Ok(Self { folder })
    }

    fn buildah(&self, arguments: &[&str]) -> Result<String, String> {
        let mut buildah = command("buildah");
        buildah.arg("--root").arg(self.folder.join("store"));
        buildah.arg("--runroot").arg(self.folder.join("run"));
        // Neither mounts nor namespaces of its own: it works inside a container, too.
        output(buildah.args(["--storage-driver", "vfs"]).args(arguments))
    }

    /// Builds a recipe on a base instead of the one that it names, and prints size and seconds.
    fn build(&self, name: &str, base: Option<&str>) -> Result<(), String> {
        let begun = Instant::now();
        let recipe = super::packaging(&format!("{name}.Containerfile")).display().to_string();
        let context = self.folder.join("context").display().to_string();
        let platform = format!("linux/{}", super::architecture()?);
        let mut words = vec![
            "build",
            "--quiet",
            "--isolation",
            "chroot",
            "--pull=never",
            "--platform",
            &platform,
        ];
        words.extend(base.iter().flat_map(|base| ["--from", base]));
        words.extend(["--file", &recipe, "--tag", name, &context]);
        self.buildah(&words)?;
        let listed = self.buildah(&["images", "--json", name])?;
        let listed: Value = serde_json::from_str(&listed).map_err(|cause| format!("{cause}: {listed}"))?;
        println!(
            "✓ image {name} {} in {:.1} s",
            listed[0]["size"].as_str().unwrap_or("of unknown size"),
            begun.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// An image of a folder.
    fn base(&self, folder: &Path) -> Result<String, String> {
        let container = self.buildah(&["from", "scratch"])?;
        let container = container.trim();
        self.buildah(&["copy", "--quiet", container, &folder.display().to_string(), "/"])?;
        self.buildah(&["commit", "--quiet", "--rm", container, "base"])?;
        Ok("localhost/base".to_owned())
    }

    fn inspect(&self, image: &str) -> Result<Value, String> {
        let told = self.buildah(&["inspect", "--type", "image", image])?;
        let told: Value = serde_json::from_str(&told).map_err(|cause| format!("{cause}: {told}"))?;
        Ok(told["OCIv1"].clone())
    }

    /// Runs something in a container of an image, and looks at how its answer begins.
    fn says(&self, image: &str, words: &[&str], start: &str) -> Result<(), String> {
        let container = self.buildah(&["from", "--pull=never", image])?;
        let container = container.trim();
        let said = self.buildah(&[&["run", "--isolation", "chroot", container, "--"], words].concat())?;
        self.buildah(&["rm", container])?;
        match said.starts_with(start) {
            true => Ok(()),
            false => Err(format!(
                "{words:?} in the image {image} said `{said}` and not `{start}`"
            )),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Some hundred megabytes that nothing needs again; what stays is removed by the next run.
        drop(fs::remove_dir_all(&self.folder));
    }
}
