//! A small file system for one node, which can be filled up.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::network::{NetworkError, run};

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
        let mut ballast = File::create(self.ballast())?;
        let zeros = vec![0_u8; 1 << 20];
        // The last blocks one by one.
        for piece in [1 << 20, 4 << 10] {
            let zeros = zeros.get(..piece).unwrap_or_default();
            loop {
                match io::Write::write(&mut ballast, zeros) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error),
                }
            }
        }
        ballast.sync_all()
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
