//! Each fault of the simulated disk does what it says, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub
)]

mod damage;
mod durable;
mod failures;
mod full;
mod maps;
mod model;
mod names;
mod power;
mod process;
mod slow;

use std::{
    io::{self, IoSlice},
    path::Path,
    sync::Arc,
};

use trilith_env::{
    Disk, File, OpenMode,
    sim::{Gone, SimConfig, SimDisk},
};

/// How many outcomes a test draws where it wants to see each kind of them.
const OUTCOMES: u64 = 200;

fn path(name: &str) -> &Path {
    Path::new(name)
}

fn open(disk: &SimDisk, name: &str) -> Arc<dyn File> {
    disk.open(path(name), OpenMode::CreateIfMissing).unwrap()
}

/// A file whose name is durable.
fn durable_file(disk: &SimDisk, name: &str) -> Arc<dyn File> {
    let file = open(disk, name);
    disk.sync_dir(path("/")).unwrap();
    file
}

fn write(file: &dyn File, pos: u64, data: &[u8]) -> io::Result<()> {
    file.write_at(pos, &[IoSlice::new(data)])
}

fn content(disk: &SimDisk, name: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(path(name), OpenMode::ReadOnly)?;
    let mut buf = vec![0; file.len()? as usize];
    file.read_at(0, &mut buf)?;
    Ok(buf)
}

/// What is found after a power cut now, for many futures of one disk.
fn outcomes<T>(disk: &SimDisk, look: impl Fn(&SimDisk) -> T) -> Vec<T> {
    let draw = |seed| {
        let fork = disk.fork(seed);
        fork.power_cut();
        fork.restart();
        look(&fork)
    };
    (0..OUTCOMES).map(draw).collect()
}

#[track_caller]
fn assert_power_cut<T>(result: io::Result<T>) {
    let Err(error) = result else {
        panic!("the power is off")
    };
    assert_eq!(Gone::caused(&error), Some(Gone::PowerCut), "{error}");
}

#[track_caller]
fn assert_stale<T>(result: io::Result<T>) {
    let Err(error) = result else {
        panic!("the handle is stale")
    };
    assert_eq!(Gone::caused(&error), Some(Gone::StaleHandle), "{error}");
}

fn config(seed: u64) -> SimConfig {
    SimConfig::new(seed)
}
