//! `cargo run --release -- DIR`: decodes every batch below a data directory, of a node that is
//! stopped, with the crate `kafka-protocol`.

use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let root = std::env::args_os().nth(1).map(PathBuf::from);
    let root = root.ok_or_else(|| anyhow::anyhow!("give a data directory"))?;
    let counted = kafka::decode_stored(&trilith_env::os::env().disk, &root)?;
    println!(
        "{} batches with {} records, all read by kafka-protocol",
        counted.batches, counted.records
    );
    Ok(())
}
