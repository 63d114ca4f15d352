//! The gRPC services of Trilith: `.proto` files and what is generated from them, nothing else.

/// Version 1 of the API.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("trilith.v1");
}

/// The descriptors of every message and service, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/trilith.bin"));
