//! `sentinel-gpu-probe`.

fn main() {}
