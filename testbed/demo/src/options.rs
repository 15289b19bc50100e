//! The demo's own command line, read by hand: a parser library would double the time until the first line.

use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = "\
sentinel-demo: one hub and some agents as real processes on this machine, and a tour of about two minutes

usage: cargo run --release -- [OPTIONS]

  --nodes N                how many agents, 1 to 50 (6)
  --state DIR              where the state folders are; kept, and gone on with if it is a demo's
  --keep                   keep the temporary state folder
  --no-tour                start without the tour
  --tour-only              stop after the tour; exit status 1 if a step failed
  --with-kube              a real Kubernetes control plane beside it, with a deployment to scale and roll out;
                           built once, about 5 minutes on two cores (needs Go 1.26)
  --with-forge             a real Gitea beside it, with a repository whose check fails: PatchBot repairs it and opens
                           a pull request; built once, about 3 minutes on two cores (needs Go 1.26, Python 3, bubblewrap)
  --no-build               use the programs that lie beside this one
  --inframind URL          a brain that the hub calls beside its own, for example http://127.0.0.1:50051
  --certificate-life SPAN  how long the hub's certificates for agents live, for example 8s
  --beacon-every SPAN      how often the hub proves that the policy is fresh (15s)
  --help, --version
";

/// Most agents: each is three processes.
const MAX_NODES: usize = 50;

/// What the person wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Run like this.
    Run(Options),
    /// Print this.
    Text(String),
}

/// How to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many agents.
    pub nodes: usize,
    /// The folder that was named.
    pub state: Option<PathBuf>,
    /// Keep the temporary folder.
    pub keep: bool,
    /// Play the tour.
    pub tour: bool,
    /// End after the tour.
    pub tour_only: bool,
    /// Start a Kubernetes control plane, too.
    pub kube: bool,
    /// Start a forge and PatchBot, too.
    pub forge: bool,
    /// Call cargo first.
    pub build: bool,
    /// Handed to the hub.
    pub inframind: Option<String>,
    /// Handed to the hub.
    pub certificate_life: Option<String>,
    /// Handed to the hub.
    pub beacon_every: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // Three sites of two: enough to see sites, few enough for two cores.
            nodes: 6,
            state: None,
            keep: false,
            tour: true,
            tour_only: false,
            kube: false,
            forge: false,
            build: true,
            inframind: None,
            certificate_life: None,
            // Often enough that a person sees the proof of freshness grow old and become new.
            beacon_every: "15s".to_owned(),
        }
    }
}

/// Reads the words after the program's name.
pub fn parse(words: &[String]) -> Result<Asked, String> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--nodes" => {
                let text = value()?;
                options.nodes = text
                    .parse()
                    .ok()
                    .filter(|nodes| (1..=MAX_NODES).contains(nodes))
                    .ok_or_else(|| format!("--nodes {text} is not a number from 1 to {MAX_NODES}"))?;
            }
            "--state" => options.state = Some(PathBuf::from(value()?)),
            "--inframind" => options.inframind = Some(value()?),
            "--certificate-life" => options.certificate_life = Some(value()?),
            "--beacon-every" => options.beacon_every = value()?,
            "--keep" => options.keep = true,
            "--no-tour" => options.tour = false,
            "--tour-only" => options.tour_only = true,
            "--with-kube" => options.kube = true,
            "--with-forge" => options.forge = true,
            "--no-build" => options.build = false,
            "--help" | "-h" => return Ok(Asked::Text(HELP.to_owned())),
            "--version" | "-V" => {
                return Ok(Asked::Text(format!("sentinel-demo {}\n", env!("CARGO_PKG_VERSION"))));
            }
            other => return Err(format!("`{other}` is not an option")),
        }
    }
    match (options.tour, options.tour_only) {
        (false, true) => Err("--no-tour and --tour-only exclude each other".to_owned()),
        _ => Ok(Asked::Run(options)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<Options, &str>) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match (parse(&words), expected) {
            (Ok(asked), Ok(options)) => assert_eq!(asked, Asked::Run(options)),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
            (got, expected) => panic!("`{line}` gave {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn the_documented_options_are_read() {
        check("", Ok(Options::default()));
        check(
            "--nodes 3 --state /x --keep --no-tour --no-build",
            Ok(Options {
                nodes: 3,
                state: Some(PathBuf::from("/x")),
                keep: true,
                tour: false,
                build: false,
                ..Options::default()
            }),
        );
        check(
            "--certificate-life 8s --inframind http://[::1]:1 --tour-only --with-kube --with-forge",
            Ok(Options {
                kube: true,
                forge: true,
                inframind: Some("http://[::1]:1".to_owned()),
                certificate_life: Some("8s".to_owned()),
                tour_only: true,
                ..Options::default()
            }),
        );
    }

    #[test]
    fn mistakes_are_told() {
        check("--nodes 0", Err("1 to 50"));
        check("--nodes", Err("needs a value"));
        check("--tour", Err("not an option"));
        check("--no-tour --tour-only", Err("exclude"));
    }
}
