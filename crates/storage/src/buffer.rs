//! Read buffers that are used again once nobody holds a slice of them.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Most buffers that wait to be used again.
const IDLE_BUFFERS_MAX: usize = 4;

/// Smaller buffers are not worth keeping.
const POOLED_BYTES_MIN: usize = 64 << 10;

/// Larger buffers are not kept, so that one large entry does not hold memory for ever.
const POOLED_BYTES_MAX: usize = 4 << 20;

/// Buffers that were read into and have been given back.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    idle: Mutex<Vec<Vec<u8>>>,
}

/// A buffer on loan.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: Option<Arc<BufferPool>>,
}

impl BufferPool {
    /// A buffer of exactly `len` bytes with some content or other. Never waits: when another
    /// thread is at the pool, the buffer is a new one.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        if !(POOLED_BYTES_MIN..=POOLED_BYTES_MAX).contains(&len) {
            return Buffer {
                bytes: vec![0; len],
                pool: None,
            };
        }
        let idle = self.idle.try_lock().and_then(|mut idle| idle.pop());
        let mut bytes = idle.unwrap_or_default();
        if bytes.len() < len {
            // A fresh allocation of zeros costs no copying of what was there.
            bytes = vec![0; len.next_power_of_two().min(POOLED_BYTES_MAX)];
        }
        Buffer {
            bytes,
            pool: Some(Arc::clone(self)),
        }
    }
}

impl Buffer {
    /// The bytes to read into; may be longer than asked for.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Shares the buffer. It goes back to its pool when the last slice is dropped.
    pub(crate) fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(pool) = self.pool.take() else { return };
        if let Some(mut idle) = pool.idle.try_lock()
            && idle.len() < IDLE_BUFFERS_MAX
        {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_after_its_last_slice() {
        let pool = Arc::new(BufferPool::default());
        let mut buffer = pool.take(POOLED_BYTES_MIN);
        buffer.bytes_mut()[5] = 7;
        let slice = buffer.share().slice(5..6);
        assert_eq!((&slice[..], pool.idle.lock().len()), (&[7][..], 0));
        drop(slice);
        assert_eq!(pool.idle.lock().len(), 1);
        assert_eq!(
            pool.take(POOLED_BYTES_MIN).as_ref()[5],
            7,
            "the same buffer again"
        );
    }

    #[test]
    fn small_and_huge_buffers_are_not_kept() {
        let pool = Arc::new(BufferPool::default());
        drop(pool.take(10));
        drop(pool.take(POOLED_BYTES_MAX + 1));
        assert!(pool.idle.lock().is_empty());
    }
}
