//! One connection: its queue, its two directions.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::{Buf, Bytes};
use trilith_peer::{
    ConnId, Frame, FrameError, FrameReader, FrameWriter, Handshake, NodeMessage, Outgoing, Space,
};
use trilith_types::NodeId;

use crate::{
    baton::{Baton, Source, Written},
    stream::{Patience, PeerStream},
};

/// Parts of one vectored write.
const PARTS_PER_WRITE: usize = 64;

/// What is left to be written of a frame.
type Parts = VecDeque<Bytes>;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnId,
    pub(crate) stream: PeerStream,
    /// Who is there, once the handshake is done.
    pub(crate) node: OnceLock<NodeId>,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    out: Baton<Queue>,
}

#[derive(Debug)]
struct Queue(Outgoing);

impl Source for Queue {
    type Piece = Parts;

    fn next(&mut self) -> Option<Parts> {
        let frame = self.0.next_frame();
        (!frame.is_empty()).then(|| frame.into())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

impl Connection {
    pub(crate) fn new(id: ConnId, stream: PeerStream) -> Self {
        Self {
            id,
            stream,
            node: OnceLock::new(),
            bytes_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            out: Baton::new(Queue(Outgoing::new(0))),
        }
    }

    /// What it is for is known, and so how much may wait for it.
    pub(crate) fn set_bytes_max(&self, bytes_max: usize) {
        self.out.look(|queue| queue.0.set_bytes_max(bytes_max));
    }

    /// Queues a message; false when there was no room.
    pub(crate) fn push(&self, message: NodeMessage) -> bool {
        self.out.put(|queue| queue.0.push(message)) == Some(true)
    }

    pub(crate) fn room(&self) -> usize {
        self.out.look(|queue| queue.0.room())
    }

    /// Bytes that wait, and messages that were dropped.
    pub(crate) fn queue(&self) -> (usize, u64) {
        self.out.look(|queue| (queue.0.bytes(), queue.0.dropped()))
    }

    /// Writes what waits, as far as the socket takes it at once.
    pub(crate) fn flush(&self) {
        if !self.out.flush(|parts| self.write(parts, Patience::No)) {
            self.stream.shut();
        }
    }

    /// The connection's own thread: writes what flushes leave, until the end.
    pub(crate) fn run_writer(&self) {
        self.out.run(|parts| self.write(parts, Patience::Wait));
        self.stream.shut();
    }

    /// Writes a step of the handshake. Nothing else is written before it is done.
    pub(crate) fn say(&self, step: &Handshake) {
        let mut parts = Parts::from([FrameWriter::handshake(step)]);
        while !parts.is_empty() {
            if self.write(&mut parts, Patience::Wait) == Written::Failed {
                return self.close();
            }
        }
    }

    /// Closes it. Its reader ends too.
    pub(crate) fn close(&self) {
        self.out.close();
        self.stream.shut();
    }

    /// Writes as much of a frame as the socket takes at once; with patience, it waits for room for
    /// some of it.
    fn write(&self, parts: &mut Parts, patience: Patience) -> Written {
        while !parts.is_empty() {
            let slices: Vec<_> = parts
                .iter()
                .take(PARTS_PER_WRITE)
                .map(|part| IoSlice::new(part))
                .collect();
            match self.stream.write(&slices, patience) {
                Ok(count) => {
                    self.bytes_out.fetch_add(count as u64, Relaxed);
                    advance(parts, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Written::Some,
                Err(error) => {
                    tracing::debug!(%error, "a connection takes no more");
                    return Written::Failed;
                }
            }
        }
        Written::All
    }

    /// Reads what has come, and hands each whole frame to `take`. False at the end.
    pub(crate) fn read(
        &self,
        reader: &mut FrameReader,
        mut take: impl FnMut(Frame) -> Result<(), String>,
    ) -> Result<bool, ReadError> {
        let count = match reader.space() {
            Space::Buffer(into) => {
                let count = self.stream.read(into).map_err(ReadError::Gone)?;
                reader.filled(count);
                count
            }
            Space::Body(body, missing) => self
                .stream
                .read_all(body, missing)
                .map_err(ReadError::Gone)?,
        };
        if count == 0 {
            return Ok(false);
        }
        self.bytes_in.fetch_add(count as u64, Relaxed);
        let bad = |error: FrameError| ReadError::Bad(error.to_string());
        while let Some(frame) = reader.next_frame().map_err(bad)? {
            take(frame).map_err(ReadError::Bad)?;
        }
        Ok(true)
    }
}

/// Why reading ends.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The connection broke.
    Gone(io::Error),
    /// What came is not what nodes say.
    Bad(String),
}

fn advance(parts: &mut Parts, mut written: usize) {
    while let Some(part) = parts.front_mut() {
        if part.len() > written {
            part.advance(written);
            return;
        }
        written -= part.len();
        parts.pop_front();
    }
}
