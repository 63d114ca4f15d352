//! One file of frames.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use trilith_env::{Disk, File, OpenMode};

use crate::{
    codec::Crc,
    entry::Entry,
    file_header::{FILE_HEADER_BYTES, FileHeader},
    frame::{FRAME_HEADER_BYTES, FrameHeader, padding_len},
};

/// Where the first frame begins.
pub const FIRST_FRAME: u64 = FILE_HEADER_BYTES as u64;

const PADDING: [u8; 8] = [0; 8];

/// A file of frames: appended to by one writer, read at any position by anybody.
#[derive(Clone, Debug)]
pub struct Store {
    /// The file.
    pub file: Arc<dyn File>,
    /// Where it is.
    pub path: PathBuf,
    /// The random number in its checksums.
    pub salt: u64,
}

impl Store {
    /// Makes the file with its header, and with space for so many bytes. None of it is durable yet.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn create(
        disk: &dyn Disk,
        path: &Path,
        header: &FileHeader,
        allocated: u64,
    ) -> io::Result<Self> {
        let file = disk.open(path, OpenMode::CreateNew)?;
        file.allocate(0, allocated)?;
        let store = Self {
            file,
            path: path.to_owned(),
            salt: header.salt,
        };
        store.write_header(header)?;
        Ok(store)
    }

    /// Writes the header, as new or in place of one that was damaged.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn write_header(&self, header: &FileHeader) -> io::Result<()> {
        self.file.write_at(0, &[io::IoSlice::new(&header.encode())])
    }

    /// Writes whole frames one after another from `position`, in one vectored write.
    ///
    /// # Errors
    /// What the file system answers; some of the bytes may have been written.
    pub fn write(&self, position: u64, entries: &[(FrameHeader, &Entry<'_>)]) -> io::Result<()> {
        let mut at = position;
        let headers: Vec<[u8; FRAME_HEADER_BYTES]> = entries
            .iter()
            .map(|(header, _)| {
                let encoded = header.encode(self.salt, at);
                at += header.frame_len();
                encoded
            })
            .collect();
        let mut parts = Vec::with_capacity(entries.len() * 4);
        for (encoded, (header, entry)) in headers.iter().zip(entries) {
            parts.push(io::IoSlice::new(encoded));
            parts.extend(
                entry
                    .payload
                    .iter()
                    .filter(|p| !p.is_empty())
                    .map(|p| io::IoSlice::new(p)),
            );
            let (padding, _) = PADDING.split_at(padding_len(header.payload_len.into()));
            if !padding.is_empty() {
                parts.push(io::IoSlice::new(padding));
            }
        }
        self.file.write_at(position, &parts)
    }

    /// Writes one frame without a payload.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn write_mark(&self, position: u64, header: &FrameHeader) -> io::Result<()> {
        self.file.write_at(
            position,
            &[io::IoSlice::new(&header.encode(self.salt, position))],
        )
    }

    /// The header at `position`; `None` when there is no valid one.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn header_at(&self, position: u64) -> io::Result<Option<FrameHeader>> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let n = self.file.read_at(position, &mut bytes)?;
        Ok((n == FRAME_HEADER_BYTES)
            .then(|| FrameHeader::decode(&bytes, self.salt, position))
            .flatten())
    }
}

/// The checksum of an entry's payload.
pub(crate) fn payload_crc(entry: &Entry<'_>) -> u32 {
    entry
        .payload
        .iter()
        .fold(Crc::default(), |crc, part| crc.add(part))
        .get()
}
