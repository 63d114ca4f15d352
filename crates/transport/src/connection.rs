//! Writing to one connection from many threads.
//!
//! Whoever flushes writes, without waiting: that saves waking another thread, which on a busy
//! machine costs more than the write. Only one writes at a time; what others queue meanwhile, the
//! writer takes along. Once the socket takes no more, or one thread has written for too long, the
//! connection's own thread goes on.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use bytes::{Buf, Bytes};
use parking_lot::{Condvar, Mutex};
use trilith_peer::{ConnId, Frame, FrameWriter, Handshake, NodeMessage, Outgoing};
use trilith_types::NodeId;

use crate::stream::{Patience, PeerStream};

/// Frames that one flush writes for others before the connection's own thread takes over.
const FRAMES_PER_FLUSH: usize = 4;

/// Pieces of one vectored write.
const PIECES_PER_WRITE: usize = 64;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnId,
    pub(crate) stream: PeerStream,
    /// Who is there, once the handshake is done.
    pub(crate) node: OnceLock<NodeId>,
    out: Mutex<Out>,
    handed_over: Condvar,
    has_waiting: AtomicBool,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
}

#[derive(Debug)]
struct Out {
    queue: Outgoing,
    /// What is left of a frame that was begun.
    begun: VecDeque<Bytes>,
    writer: Writer,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// Whoever comes next.
    Nobody,
    /// A thread that flushes, or says a step of the handshake.
    Flusher,
    /// The connection's own thread.
    Own,
    /// The connection is closed.
    Closed,
}

impl Connection {
    pub(crate) fn new(id: ConnId, stream: PeerStream) -> Self {
        Self {
            id,
            stream,
            node: OnceLock::new(),
            out: Mutex::new(Out {
                queue: Outgoing::new(0),
                begun: VecDeque::new(),
                writer: Writer::Nobody,
            }),
            handed_over: Condvar::new(),
            has_waiting: AtomicBool::new(false),
            bytes_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
        }
    }

    /// What it is for is known, and so how much may wait for it.
    pub(crate) fn set_bytes_max(&self, bytes_max: usize) {
        self.out.lock().queue.set_bytes_max(bytes_max);
    }

    /// Queues a message; false when there was no room.
    pub(crate) fn push(&self, message: NodeMessage) -> bool {
        let mut out = self.out.lock();
        if out.writer == Writer::Closed {
            return false;
        }
        let has_room = out.queue.push(message);
        self.has_waiting.store(true, Relaxed);
        has_room
    }

    pub(crate) fn room(&self) -> usize {
        self.out.lock().queue.room()
    }

    /// Bytes that wait, and messages that were dropped.
    pub(crate) fn queue(&self) -> (usize, u64) {
        let out = self.out.lock();
        (out.queue.bytes(), out.queue.dropped())
    }

    /// Writes what waits, as far as the socket takes it at once.
    pub(crate) fn flush(&self) {
        // Whoever pushed sees its own message here; others flush for themselves.
        if !self.has_waiting.load(Relaxed) {
            return;
        }
        let mut out = self.out.lock();
        if out.writer != Writer::Nobody {
            return;
        }
        for _ in 0..FRAMES_PER_FLUSH {
            let mut frame = out.next(&self.has_waiting);
            if frame.is_empty() {
                out.writer = Writer::Nobody;
                return;
            }
            out.writer = Writer::Flusher;
            drop(out);
            let written = self.write(&mut frame, Patience::No);
            out = self.out.lock();
            if out.writer == Writer::Closed {
                return;
            }
            if let Err(error) = written
                && error.kind() != io::ErrorKind::WouldBlock
            {
                self.end(&mut out);
                return;
            }
            if !frame.is_empty() {
                out.begun = frame;
                break;
            }
        }
        out.writer = Writer::Own;
        self.handed_over.notify_one();
    }

    /// The connection's own thread: writes on where a flush left off, until the end.
    pub(crate) fn run_writer(&self) {
        let mut out = self.out.lock();
        loop {
            match out.writer {
                Writer::Closed => return,
                Writer::Nobody | Writer::Flusher => self.handed_over.wait(&mut out),
                Writer::Own => {
                    let mut frame = out.next(&self.has_waiting);
                    if frame.is_empty() {
                        out.writer = Writer::Nobody;
                        continue;
                    }
                    drop(out);
                    let written = self.write(&mut frame, Patience::Wait);
                    out = self.out.lock();
                    if out.writer == Writer::Closed {
                        return;
                    }
                    if let Err(error) = written
                        && error.kind() != io::ErrorKind::WouldBlock
                    {
                        self.end(&mut out);
                        return;
                    }
                    out.begun = frame;
                }
            }
        }
    }

    /// Writes a step of the handshake. Nothing else is written before it is done.
    pub(crate) fn say(&self, step: &Handshake) {
        let mut frame = VecDeque::from([FrameWriter::handshake(step)]);
        while !frame.is_empty() {
            if self.write(&mut frame, Patience::Wait).is_err() {
                self.close();
                return;
            }
        }
    }

    /// Closes it. Its reader ends too.
    pub(crate) fn close(&self) {
        self.end(&mut self.out.lock());
    }

    fn end(&self, out: &mut Out) {
        out.writer = Writer::Closed;
        out.queue.clear();
        out.begun.clear();
        self.handed_over.notify_one();
        self.stream.shut();
    }

    /// Writes as much of `frame` as it can, and leaves the rest in it. With patience, one write.
    fn write(&self, frame: &mut VecDeque<Bytes>, patience: Patience) -> io::Result<()> {
        while !frame.is_empty() {
            let pieces = frame.iter().take(PIECES_PER_WRITE);
            let pieces: Vec<_> = pieces.map(|piece| IoSlice::new(piece)).collect();
            let written = self.stream.write(&pieces, patience)?;
            self.bytes_out.fetch_add(written as u64, Relaxed);
            advance(frame, written);
            if patience == Patience::Wait {
                break;
            }
        }
        Ok(())
    }

    /// Reads until something whole has come, and hands each frame to `take`. False at the end.
    pub(crate) fn read(
        &self,
        reader: &mut trilith_peer::FrameReader,
        mut take: impl FnMut(Frame) -> Result<(), String>,
    ) -> Result<bool, String> {
        let count = self.stream.read(reader.space());
        let count = count.map_err(|error| error.to_string())?;
        if count == 0 {
            return Ok(false);
        }
        self.bytes_in.fetch_add(count as u64, Relaxed);
        reader.filled(count);
        while let Some(frame) = reader.next_frame().map_err(|error| error.to_string())? {
            take(frame)?;
        }
        Ok(true)
    }
}

impl Out {
    /// What is to be written next: the rest of a frame that was begun, or the next one.
    fn next(&mut self, has_waiting: &AtomicBool) -> VecDeque<Bytes> {
        if !self.begun.is_empty() {
            return std::mem::take(&mut self.begun);
        }
        let frame = self.queue.next_frame();
        has_waiting.store(!self.queue.is_empty(), Relaxed);
        frame.into()
    }
}

fn advance(frame: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(piece) = frame.front_mut() {
        if piece.len() > written {
            piece.advance(written);
            return;
        }
        written -= piece.len();
        frame.pop_front();
    }
}
