//! The buffers that frames are built in: aligned, so that writes can bypass the page cache, and
//! used again.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use trilith_env::DIRECT_ALIGN;

/// Most buffers that wait to be used again: one for each frame in flight, and one being built.
const IDLE_BUFFERS_MAX: usize = 3;

/// Larger buffers are not kept.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Smallest buffer: most frames are small.
const BUFFER_BYTES_MIN: usize = 64 << 10;

#[derive(Debug, Default)]
pub(crate) struct AlignedPool {
    idle: Mutex<Vec<Vec<u8>>>,
}

/// A buffer on loan, whose bytes begin at a multiple of [`DIRECT_ALIGN`].
#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    space: Vec<u8>,
    start: usize,
    len: usize,
    pool: Arc<AlignedPool>,
}

impl AlignedPool {
    /// A buffer of `len` bytes with some content or other.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> AlignedBuffer {
        let wanted = len + DIRECT_ALIGN;
        let found = {
            let mut idle = self.idle.lock();
            let fits = idle.iter().position(|space| space.len() >= wanted);
            fits.map(|n| idle.swap_remove(n))
        };
        let space = found.unwrap_or_else(|| {
            // Fresh zeros cost no copying; a power of two serves more frames to come.
            vec![0; len.next_power_of_two().max(BUFFER_BYTES_MIN) + DIRECT_ALIGN]
        });
        // A start that is not aligned is only slower, so an allocator that cannot say is no harm.
        let start = space.as_ptr().align_offset(DIRECT_ALIGN);
        let start = if start > DIRECT_ALIGN { 0 } else { start };
        AlignedBuffer {
            space,
            start,
            len,
            pool: Arc::clone(self),
        }
    }
}

impl AlignedBuffer {
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.space
            .get_mut(self.start..self.start + self.len)
            .unwrap_or_default()
    }

    /// The bytes, to be written. The buffer goes back to its pool when they are dropped.
    pub(crate) fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.space
            .get(self.start..self.start + self.len)
            .unwrap_or_default()
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        let space = std::mem::take(&mut self.space);
        let mut idle = self.pool.idle.lock();
        if idle.len() < IDLE_BUFFERS_MAX && space.len() <= KEPT_BYTES_MAX + DIRECT_ALIGN {
            idle.push(space);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_come_back() {
        let pool = Arc::new(AlignedPool::default());
        let mut buffer = pool.take(5000);
        assert_eq!(buffer.bytes_mut().len(), 5000);
        buffer.bytes_mut()[0] = 7;
        let shared = buffer.share();
        assert!((shared.as_ptr() as usize).is_multiple_of(DIRECT_ALIGN));
        let slice = shared.slice(0..1);
        drop(shared);
        assert_eq!((slice[0], pool.idle.lock().len()), (7, 0));
        drop(slice);
        assert_eq!(pool.idle.lock().len(), 1);
        let again = pool.take(BUFFER_BYTES_MIN);
        assert_eq!((again.as_ref()[0], pool.idle.lock().len()), (7, 0));
    }

    #[test]
    fn huge_buffers_and_too_many_are_not_kept() {
        let pool = Arc::new(AlignedPool::default());
        drop(pool.take(KEPT_BYTES_MAX + 1));
        assert!(pool.idle.lock().is_empty());
        let many: Vec<_> = (0..5).map(|_| pool.take(10)).collect();
        drop(many);
        assert_eq!(pool.idle.lock().len(), IDLE_BUFFERS_MAX);
    }
}
