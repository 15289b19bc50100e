//! `cargo xtask package`: four Debian packages and one archive of what `dist` built.
//!
//! A package is a folder laid out as the system will see it (Filesystem Hierarchy Standard), three small scripts, and `dpkg-deb`. Man
//! pages and completions come from the programs themselves. Dates are those of the last commit, so that two builds of one commit are equal.
//!
//! Read next: `packaging/` (units and settings), `package/man.rs` (man pages), `package/test.rs` (installed in real Debian roots),
//! `package/images.rs` (the image recipes, built).

mod images;
pub mod man;
pub mod test;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::shell::{command, output, root, run};

/// A package.
struct Package {
    name: &'static str,
    summary: &'static str,
    /// Program, and the section of its man page.
    program: (&'static str, u8),
    /// Whether it has a unit, a user and a state folder, all of the package's name.
    service: bool,
    /// Settings that people change: file in `packaging/`, which lies in `/etc/sentinel` once installed.
    settings: Option<&'static str>,
    /// What it is less useful without, from Debian.
    recommends: &'static str,
}

const PACKAGES: [Package; 4] = [
    Package {
        name: "sentinel-hub",
        summary: "hub that agents sync with and people look at",
        program: ("sentinel-hub", 8),
        service: true,
        settings: Some("hub.env"),
        recommends: "",
    },
    Package {
        name: "sentinel-agent",
        summary: "agent that acts by cached, signed policy, also with no hub near",
        program: ("sentinel-agent", 8),
        service: true,
        settings: Some("agent.toml"),
        recommends: "",
    },
    Package {
        name: "sentinel-cli",
        summary: "command line for a hub and for an agent's own socket",
        program: ("sentinel", 1),
        service: false,
        settings: None,
        recommends: "",
    },
    Package {
        name: "sentinel-patchbot",
        summary: "repairs failed checks of a forge in a sandbox, for a hub or by hand",
        program: ("sentinel-patchbot", 1),
        service: false,
        settings: None,
        recommends: "bubblewrap, git",
    },
];

/// Shells, and where Debian looks for their completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/sentinel"),
    ("zsh", "usr/share/zsh/vendor-completions/_sentinel"),
    ("fish", "usr/share/fish/vendor_completions.d/sentinel.fish"),
];

/// How `dpkg-deb` packs what is shipped.
const SHIPPED: [&str; 2] = ["-Zxz", "-z6"];
/// How it packs what is installed once and thrown away.
const THROWN_AWAY: [&str; 2] = ["-Zgzip", "-z1"];

/// Builds all packages and the archive of the programs in a folder into `target/packages`, and returns their paths.
pub fn build(programs: &Path, version: &str) -> Result<Vec<PathBuf>, String> {
    let mut made = debs(programs, version, SHIPPED)?;
    made.push(archive(&stage(), &out(), version, "-6")?);
    checksums(&out(), &made)?;
    Ok(made)
}

/// The Debian packages alone; what they hold stays laid out in [`stage`].
fn debs(programs: &Path, version: &str, packed: [&str; 2]) -> Result<Vec<PathBuf>, String> {
    if stage().exists() {
        fs::remove_dir_all(stage()).map_err(|cause| format!("cannot empty `{}`: {cause}", stage().display()))?;
    }
    let mut made = Vec::new();
    for package in &PACKAGES {
        let folder = stage().join(package.name);
        lay_out(package, programs, &folder)?;
        control(package, version, &folder)?;
        let path = out().join(format!("{}_{version}_{}.deb", package.name, architecture()?));
        run(command("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", last_commit()?)
            .arg("--root-owner-group")
            .args(packed)
            .arg("--build")
            .arg(&folder)
            .arg(&path)
            .stdout(std::process::Stdio::null()))?;
        made.push(path);
    }
    Ok(made)
}

fn out() -> PathBuf {
    root().join("target/packages")
}

/// Where packages are laid out.
fn stage() -> PathBuf {
    out().join("stage")
}

/// `cargo xtask package [--programs DIR]`: of `dist`'s programs unless a folder is named.
pub fn command_line(arguments: &[String]) -> Result<(), String> {
    let programs = programs(arguments)?;
    say_sizes(&build(&programs, env!("CARGO_PKG_VERSION"))?)
}

/// Prints how large each file is.
fn say_sizes(files: &[PathBuf]) -> Result<(), String> {
    for path in files {
        let size = fs::metadata(path)
            .map_err(|cause| format!("cannot look at `{}`: {cause}", path.display()))?
            .len();
        println!("{} {:.1} MB", path.display(), megabytes(size));
    }
    Ok(())
}

/// The folder that `--programs` names, or the one that `dist` fills first.
fn programs(arguments: &[String]) -> Result<PathBuf, String> {
    match arguments {
        [] => crate::dist::build(),
        [flag, folder] if flag == "--programs" => Ok(PathBuf::from(folder)),
        _ => Err("expected nothing or --programs DIR".to_owned()),
    }
}

fn lay_out(package: &Package, programs: &Path, folder: &Path) -> Result<(), String> {
    let (program, section) = package.program;
    let from = programs.join(program);
    install(&from, &folder.join("usr/bin").join(program), 0o755)?;
    let page = man::page(&from, program, section)?;
    let page_path = folder.join(format!("usr/share/man/man{section}/{program}.{section}"));
    write(&page_path, page.as_bytes(), 0o644)?;
    run(command("gzip").args(["-9n"]).arg(&page_path))?;
    let license = format!("usr/share/doc/{}/copyright", package.name);
    install(&root().join("LICENSE"), &folder.join(license), 0o644)?;
    if package.service {
        let unit = format!("{}.service", package.name);
        install(
            &packaging(&unit),
            &folder.join("usr/lib/systemd/system").join(&unit),
            0o644,
        )?;
        let users = format!(
            "u {name} - \"Sentinel\" /var/lib/{name} /usr/sbin/nologin\n",
            name = package.name
        );
        let users_path = format!("usr/lib/sysusers.d/{}.conf", package.name);
        write(&folder.join(users_path), users.as_bytes(), 0o644)?;
    } else if program == "sentinel" {
        for (shell, path) in COMPLETIONS {
            let text = output(command(&from.to_string_lossy()).args(["completion", shell]))?;
            write(&folder.join(path), text.as_bytes(), 0o644)?;
        }
    }
    if let Some(settings) = package.settings {
        install(&packaging(settings), &folder.join("etc/sentinel").join(settings), 0o644)?;
    }
    Ok(())
}

fn control(package: &Package, version: &str, folder: &Path) -> Result<(), String> {
    let debian = folder.join("DEBIAN");
    let size = output(command("du").arg("-sk").arg(folder))?;
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let text = format!(
        "Package: {}\nVersion: {version}\nArchitecture: {}\nMaintainer: The Sentinel authors <sentinel@example.org>\nInstalled-Size: {size}\n\
         Section: admin\nPriority: optional\n{}{}Description: Sentinel: {}\n Autonomous agents on GPU servers and edge boxes, and a small hub.\n",
        package.name,
        architecture()?,
        if package.service { "Depends: passwd\n" } else { "" },
        match package.recommends {
            "" => String::new(),
            names => format!("Recommends: {names}\n"),
        },
        package.summary,
    );
    write(&debian.join("control"), text.as_bytes(), 0o644)?;
    if let Some(settings) = package.settings {
        write(
            &debian.join("conffiles"),
            format!("/etc/sentinel/{settings}\n").as_bytes(),
            0o644,
        )?;
    }
    if package.service {
        for script in ["postinst", "prerm", "postrm"] {
            let text = read(&packaging(script))?.replace("@NAME@", package.name);
            write(&debian.join(script), text.as_bytes(), 0o755)?;
        }
    }
    Ok(())
}

/// Everything that the packages hold, as one archive for systems without `dpkg`.
fn archive(stage: &Path, out: &Path, version: &str, packed: &str) -> Result<PathBuf, String> {
    let path = out.join(format!("sentinel-{version}-{}-linux.tar.xz", std::env::consts::ARCH));
    let epoch = last_commit()?;
    let mut tar = command("tar");
    tar.env("XZ_OPT", packed).args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--exclude=DEBIAN",
        "-cJf",
    ]);
    tar.arg(&path).arg(format!("--mtime=@{epoch}"));
    for package in &PACKAGES {
        tar.arg("-C").arg(stage.join(package.name)).arg(".");
    }
    run(&mut tar)?;
    Ok(path)
}

fn checksums(out: &Path, made: &[PathBuf]) -> Result<(), String> {
    let names = made.iter().filter_map(|path| path.file_name());
    let text = output(command("sha256sum").current_dir(out).args(names))?;
    write(&out.join("SHA256SUMS"), text.as_bytes(), 0o644)
}

/// Debian's word for this machine's architecture.
fn architecture() -> Result<&'static str, String> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(format!("there is no package for `{other}`")),
    }
}

/// Seconds since 1970 of the last commit; 0 outside a checkout.
fn last_commit() -> Result<String, String> {
    let told = output(command("git").args(["log", "-1", "--format=%ct"])).unwrap_or_default();
    let told = told.trim();
    Ok(if told.is_empty() {
        "0".to_owned()
    } else {
        told.to_owned()
    })
}

fn packaging(file: &str) -> PathBuf {
    root().join("testbed/xtask/packaging").join(file)
}

fn install(from: &Path, to: &Path, mode: u32) -> Result<(), String> {
    let bytes = fs::read(from).map_err(|cause| format!("cannot read `{}`: {cause}", from.display()))?;
    write(to, &bytes, mode)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    let failed = |cause| format!("cannot write `{}`: {cause}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, bytes).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|cause| format!("cannot read `{}`: {cause}", path.display()))
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
