//! What waits to be written to one connection.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{frame::FrameWriter, message::NodeMessage};

/// A bounded queue. What does not fit is dropped, which the protocols above bear: a core sends
/// again what was not acknowledged.
#[derive(Debug)]
pub struct Outgoing {
    waiting: VecDeque<NodeMessage>,
    bytes: usize,
    bytes_max: usize,
    dropped: u64,
    frame: FrameWriter,
}

impl Outgoing {
    /// An empty queue for `bytes_max` bytes, as [`NodeMessage::wire_bytes`] counts them.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            bytes_max,
            dropped: 0,
            frame: FrameWriter::default(),
        }
    }

    /// Sets another limit. What waits already stays.
    pub const fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Puts a message in; false when there is no room for it, and it is gone. A heartbeat always
    /// has room, and goes before all others: there is one at most.
    pub fn push(&mut self, message: NodeMessage) -> bool {
        if matches!(message, NodeMessage::Heartbeat(_)) {
            let is_heartbeat = |m: &mut NodeMessage| matches!(m, NodeMessage::Heartbeat(_));
            // Only the newest says how things are.
            if let Some(older) = self.waiting.pop_front_if(is_heartbeat) {
                self.bytes -= older.wire_bytes();
            }
            self.bytes += message.wire_bytes();
            self.waiting.push_front(message);
            return true;
        }
        let bytes = message.wire_bytes();
        if self.bytes.saturating_add(bytes) > self.bytes_max && !self.waiting.is_empty() {
            self.dropped += 1;
            return false;
        }
        self.bytes += bytes;
        self.waiting.push_back(message);
        true
    }

    /// The next frame's pieces, from as much as one frame takes of what waits; nothing when
    /// nothing waits.
    pub fn next_frame(&mut self) -> Vec<Bytes> {
        while !self.frame.is_full()
            && let Some(message) = self.waiting.pop_front()
        {
            self.bytes -= message.wire_bytes();
            if self.frame.push(&message).is_err() {
                debug_assert!(false, "a message of its sender's making breaks the limits");
                self.dropped += 1;
            }
        }
        self.frame.finish()
    }

    /// Bytes for which there is room.
    #[must_use]
    pub fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes)
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many messages were dropped for want of room, since the start.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets what waits: the connection is gone, and what was said on it is out of date.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }
}
