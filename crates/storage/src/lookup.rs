//! The short way to one small entry: the index says where it is, one read brings it, and nothing
//! is shared or counted on the way. Whatever is not as expected takes the long way.

use std::cell::RefCell;

use bytes::Bytes;
use trilith_types::Offset;

use crate::{
    codec::crc,
    error::ReadError,
    fetch,
    frame::{FRAME_HEADER_BYTES, FrameHeader, frame_len},
    reader::{LogReader, ReadChunk},
};

/// Frames up to this length are read into a buffer of the thread's, and their payload is copied
/// out: that is cheaper than a buffer of their own.
const BRIEF_BYTES_MAX: usize = 4 << 10;

thread_local! {
    static BUFFER: RefCell<[u8; BRIEF_BYTES_MAX]> = const { RefCell::new([0; BRIEF_BYTES_MAX]) };
}

impl LogReader {
    /// The entry that holds `from`, when `max_bytes` leave room for no other and it is found at
    /// the first attempt; or what the file system answers.
    pub(crate) fn read_brief(
        &self,
        from: Offset,
        visible: Offset,
        max_bytes: usize,
    ) -> Option<Result<ReadChunk, ReadError>> {
        if max_bytes > BRIEF_BYTES_MAX {
            return None;
        }
        let list = self.shared.list.load();
        if from < list.start {
            return None;
        }
        let segment = list.at(from).0.filter(|segment| segment.holds(from))?;
        let open = segment.open_now();
        let open = open.as_ref()?;
        let index = open.index.as_ref()?;
        let place = index.frame_at(from.since(segment.base)?)?;
        let len = match place.len {
            Some(len) => len,
            None => frame_len(index.slot(place.ordinal)?.payload_len.into()),
        };
        let len = usize::try_from(len).ok()?;
        BUFFER.with_borrow_mut(|buffer| {
            let bytes = buffer.get_mut(..len)?;
            let store = &open.store;
            let read = match store.file.read_at(place.position, bytes) {
                Ok(read) => read,
                Err(source) => {
                    let path = store.path.clone();
                    return Some(Err(ReadError::Io { path, source }));
                }
            };
            let (head, rest) = bytes
                .get(..read)?
                .split_first_chunk::<FRAME_HEADER_BYTES>()?;
            let header = FrameHeader::decode(head, store.salt, place.position)?;
            let payload = rest.get(..header.payload_len as usize)?;
            let is_wanted = header.index == segment.first_index.plus(place.ordinal.into())
                && header.first_offset <= from
                && from < header.next_offset()
                && header.next_offset() <= visible
                && !header.is_mark()
                && !header.is_lost()
                && max_bytes as u64 <= header.frame_len()
                && crc(payload) == header.payload_crc;
            is_wanted.then(|| {
                Ok(ReadChunk {
                    frames: vec![fetch::frame(&header, Bytes::copy_from_slice(payload))],
                    next: header.next_offset(),
                    end: visible,
                })
            })
        })
    }
}
