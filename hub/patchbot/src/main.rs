//! `sentinel-patchbot`.

fn main() {}
