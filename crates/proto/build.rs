//! Compiles the .proto files without `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const ROOT: &str = "proto";
const FILES: [&str; 4] = [
    "trilith/v1/record.proto",
    "trilith/v1/log.proto",
    "trilith/v1/topics.proto",
    "trilith/v1/cluster.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    let descriptors = protox::compile(FILES, [ROOT])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("trilith.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Payloads are shared slices of the receive buffer, never copies.
        .bytes(".trilith.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
