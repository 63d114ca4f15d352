//! What the disk alone can do: plain sequential writes of whole files, each synced.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use super::payload::random;

/// The default size of a segment, so that the files are those a server writes.
const FILE_BYTES: u64 = 64 << 20;
const BLOCK_BYTES: usize = 1 << 20;

/// Writes `bytes` into files of one segment each in `dir`, each synced with fdatasync, and removes
/// them.
///
/// # Returns
/// Bytes a second, syncs included.
pub(super) fn measure(dir: &Path, bytes: u64) -> io::Result<f64> {
    fs::create_dir_all(dir)?;
    let block = random(BLOCK_BYTES);
    let mut written = Files(Vec::new());
    let started = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let path = dir.join(format!("trilith-baseline-{}", written.0.len()));
        let mut file = File::create(&path)?;
        written.0.push(path);
        let mut room = FILE_BYTES.min(left);
        left -= room;
        while room > 0 {
            let step = room.min(BLOCK_BYTES as u64);
            file.write_all(block.get(..step as usize).unwrap_or_default())?;
            room -= step;
        }
        file.sync_data()?;
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}

/// Removed when dropped, also when writing failed.
struct Files(Vec<PathBuf>);

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.0 {
            // What cannot be removed is seen in the directory.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        assert!(measure(dir.path(), 3_000_000).unwrap() > 0.0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
