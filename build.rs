//! Compiles `proto/` with a compiler written in Rust, so that a build needs no protoc, and leaves the descriptors beside
//! the code: gRPC reflection and the JSON output of the command line read them.

use std::{env, fs, path::PathBuf};

use protox::prost::Message;

const PROTOS: [&str; 5] = [
    "herdsman/v1/task.proto",
    "herdsman/v1/cluster.proto",
    "herdsman/internal/v1/record.proto",
    "herdsman/internal/v1/links.proto",
    "herdsman/internal/v1/worker.proto",
];

/// What makes a link's messages large: they are handed on by value several times each, at most a box that is a pointer.
const BOXED: [&str; 5] = [
    ".herdsman.internal.v1.LinkClientRequest.message.call",
    ".herdsman.internal.v1.LinkClientResponse.message.reply",
    ".herdsman.internal.v1.LinkClientResponse.message.event",
    ".herdsman.internal.v1.LinkWorkerRequest.message.hello",
    ".herdsman.internal.v1.LinkWorkerResponse.message.assign",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("herdsman.bin"), descriptors.encode_to_vec())?;
    let mut build = tonic_prost_build::configure().bytes(".").btree_map(".");
    for field in BOXED {
        build = build.boxed(field);
    }
    build.compile_fds(descriptors)?;
    Ok(())
}
