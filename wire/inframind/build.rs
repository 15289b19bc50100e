//! Compiles the contract with protox, so that no `protoc` is needed.

fn main() {
    let files = protox::compile(["sentinel/v1/decision_service.proto"], ["proto"]);
    let files = files.unwrap_or_else(|error| panic!("proto/: {error}"));
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(files)
        .unwrap_or_else(|error| panic!("the contract cannot be compiled: {error}"));
    println!("cargo:rerun-if-changed=proto");
}
