//! The words of `sentinel profile`: what is known of devices' models. None of them asks anybody.

use std::path::PathBuf;

use clap::Subcommand;

/// What is done with profiles.
#[derive(Debug, Subcommand)]
pub enum Profile {
    /// Every model that this release knows, with its power caps and thermal limits
    List,
    /// One profile, each number with its source
    Show {
        /// Its id, or a model's name as the driver tells it
        name: String,
    },
    /// Say what is wrong with profile files of your own, before an agent refuses them
    Check {
        /// The files; an agent reads those in /etc/sentinel/profiles.d
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}
