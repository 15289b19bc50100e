//! Puts the GPU probe into the agent, where the build names one: `SENTINEL_GPU_PROBE=FILE`. Without it the agent looks beside itself.

use std::path::PathBuf;

fn main() {
    const VARIABLE: &str = "SENTINEL_GPU_PROBE";
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names it")).join("sentinel-gpu-probe");
    let program = match std::env::var_os(VARIABLE) {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", PathBuf::from(&path).display());
            std::fs::read(&path).unwrap_or_else(|error| panic!("{VARIABLE}={}: {error}", path.display()))
        }
        None => Vec::new(),
    };
    std::fs::write(&out, program).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}
