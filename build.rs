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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("herdsman.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
