//! A small file system for one node, which can be filled up.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use crate::network::{NetworkError, run};

/// Room is taken in pieces, from large ones down to blocks, in bytes.
const PIECE_MAX: u64 = 1 << 30;
const PIECE_MIN: u64 = 4 << 10;

/// A small file system. It is gone with this process's mount namespace.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts a new file system of `mib` mebibytes at `at`, which is made, with its image beside
    /// it. Within the namespaces of [`crate::network::enter`].
    ///
    /// # Errors
    /// This machine does not allow it.
    pub fn mount(at: &Path, mib: u64) -> Result<Self, NetworkError> {
        let image = at.with_extension("image");
        let made = fs::create_dir_all(at)
            .and_then(|()| File::create(&image))
            .and_then(|file| file.set_len(mib << 20));
        made.map_err(|source| NetworkError::Io {
            command: format!("make {}", image.display()),
            source,
        })?;
        run(&format!("mkfs.ext4 -q -m 0 {}", image.display()))?;
        run(&format!(
            "mount -o loop {} {}",
            image.display(),
            at.display()
        ))?;
        Ok(Self { at: at.to_owned() })
    }

    /// Takes all the room that is left.
    ///
    /// # Errors
    /// What the file system answers, but that it is full.
    pub fn fill(&self) -> io::Result<()> {
        let ballast = File::create(self.ballast())?;
        let (mut taken, mut piece) = (0, PIECE_MAX);
        while piece >= PIECE_MIN {
            match fallocate(&ballast, FallocateFlags::empty(), taken, piece) {
                Ok(()) => taken += piece,
                Err(Errno::NOSPC) => piece /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn free(&self) -> io::Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is still ending may use it. If this fails the mount goes with the
        // namespace.
        let _unmounted = run(&format!("umount --lazy {}", self.at.display()));
    }
}
