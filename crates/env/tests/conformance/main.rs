//! What every disk has to do, run on the operating system's and on the simulated one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub
)]

mod content;
mod locks;
mod mappings;
mod names;

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{Disk, File, OpenMode, os::OsDisk, sim::SimConfig, sim::SimDisk};

/// A disk and an empty directory on it.
struct Place<'a> {
    disk: &'a dyn Disk,
    root: PathBuf,
}

impl Place<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn create(&self, name: &str) -> Arc<dyn File> {
        self.disk
            .open(&self.path(name), OpenMode::CreateNew)
            .unwrap()
    }

    /// A new file with content.
    fn filled(&self, name: &str, content: &[u8]) -> Arc<dyn File> {
        let file = self.create(name);
        write(&*file, 0, content);
        file
    }

    fn content(&self, name: &str) -> Vec<u8> {
        read_all(
            &*self
                .disk
                .open(&self.path(name), OpenMode::ReadOnly)
                .unwrap(),
        )
    }

    fn names(&self, dir: &str) -> Vec<(String, bool)> {
        let entries = self.disk.list(&self.path(dir)).unwrap();
        let name = |p: &Path| p.file_name().unwrap().to_str().unwrap().to_owned();
        entries.iter().map(|e| (name(&e.path), e.is_dir)).collect()
    }
}

fn write(file: &dyn File, pos: u64, data: &[u8]) {
    file.write_at(pos, &[std::io::IoSlice::new(data)]).unwrap();
}

fn read(file: &dyn File, pos: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0xee; len];
    let n = file.read_at(pos, &mut buf).unwrap();
    buf.truncate(n);
    buf
}

fn read_all(file: &dyn File) -> Vec<u8> {
    read(file, 0, file.len().unwrap() as usize)
}

/// The kind of an error, which must name the path that it is about.
#[track_caller]
fn kind_naming<T>(path: &Path, result: std::io::Result<T>) -> ErrorKind {
    let Err(error) = result else {
        panic!("it should have failed")
    };
    let text = error.to_string();
    assert!(
        text.contains(path.to_str().unwrap()),
        "{text:?} does not name {path:?}"
    );
    error.kind()
}

fn on_os(test: fn(&Place<'_>)) {
    let dir = tempfile::tempdir().unwrap();
    test(&Place {
        disk: &OsDisk::default(),
        root: dir.path().to_owned(),
    });
}

fn on_sim(test: fn(&Place<'_>), config: SimConfig) {
    let disk = SimDisk::with(config);
    let root = PathBuf::from("/data");
    disk.create_dir_all(&root).unwrap();
    test(&Place { disk: &disk, root });
}

/// Makes three tests of each function: the real disk, the simulated one, and a slow one.
macro_rules! conformance {
    ($($subject:ident: $($test:ident)*;)*) => {
        mod os {
            $($(#[test] fn $test() { super::on_os(super::$subject::$test); })*)*
        }
        mod sim {
            use super::SimConfig;
            $($(#[test] fn $test() {
                super::on_sim(super::$subject::$test, SimConfig::new(1));
            })*)*
        }
        mod slow_sim {
            use super::SimConfig;
            $($(#[test] fn $test() {
                let config = SimConfig { slow: true, ..SimConfig::new(2) };
                super::on_sim(super::$subject::$test, config);
            })*)*
        }
    };
}

conformance! {
    names:
        opening_follows_its_mode
        directories_are_made_with_their_parents
        a_listing_is_sorted_and_has_whole_paths
        a_rename_replaces_what_stands_there
        a_rename_of_nothing_or_onto_a_directory_fails
        directories_can_be_renamed
        a_removed_file_is_still_read_by_who_has_it
        only_empty_directories_are_removed
        synced_directories_must_be_there
        a_file_is_no_directory
        space_is_known;
    content:
        what_was_written_is_read
        parts_are_written_one_after_another
        many_parts_are_written_whole
        a_hole_reads_as_zeros
        reads_end_at_the_end
        a_file_is_cut_and_extended
        allocating_extends_and_keeps
        work_that_may_wait_is_done
        submitted_operations_complete
        durable_writes_are_read_whatever_their_alignment
        handles_share_a_file
        read_only_means_it;
    mappings:
        words_and_bytes_are_the_same
        stored_words_outlive_the_mapping
        two_mappings_share_their_words
        bad_ranges_are_refused
        a_read_only_file_is_not_mapped;
    locks:
        a_lock_has_one_holder
        a_lock_needs_a_directory
        a_lock_file_keeps_no_stale_name;
}
