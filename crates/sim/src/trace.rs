//! The trace: one line an event, and a hash of all lines.
//!
//! The hash is taken over the very bytes that are printed, so two runs with one hash have one
//! trace, byte for byte.

use std::{
    fmt::{self, Write as _},
    io,
};

use crate::{event::Event, time::SimTime};

/// Writes lines into a hash, and into a file or terminal when there is one.
pub struct Trace {
    hash: u64,
    line: String,
    sink: Option<Box<dyn io::Write>>,
    error: Option<io::Error>,
}

impl Trace {
    /// A trace that is printed to `sink`, or only hashed.
    #[must_use]
    pub fn new(sink: Option<Box<dyn io::Write>>) -> Self {
        // FNV-1a's offset basis.
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            line: String::new(),
            sink,
            error: None,
        }
    }

    /// Adds an event.
    pub fn add(&mut self, now: SimTime, event: &Event<'_>) {
        self.line.clear();
        // Writing to a string never fails.
        let _ = writeln!(self.line, "{now} {event}");
        for byte in self.line.as_bytes() {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if let (Some(sink), None) = (&mut self.sink, &self.error) {
            self.error = sink.write_all(self.line.as_bytes()).err();
        }
    }

    /// The hash of all lines so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Flushes the sink.
    ///
    /// # Errors
    /// The first error that the sink gave; nothing was written after it.
    pub fn finish(&mut self) -> io::Result<()> {
        match (self.error.take(), &mut self.sink) {
            (Some(error), _) => Err(error),
            (None, Some(sink)) => sink.flush(),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn printing_does_not_change_the_hash_and_order_does() {
        let out = Shared::default();
        let (mut printed, mut hashed) = (Trace::new(Some(Box::new(out.clone()))), Trace::new(None));
        for trace in [&mut printed, &mut hashed] {
            trace.add(SimTime(1), &Event::Healed);
            trace.add(SimTime(2), &Event::Settled);
            trace.finish().unwrap();
        }
        assert_eq!(printed.hash(), hashed.hash());
        assert_eq!(
            out.0.lock().unwrap().as_slice(),
            b"0.000001 healed\n0.000002 settled\n"
        );
        let mut other = Trace::new(None);
        other.add(SimTime(2), &Event::Settled);
        other.add(SimTime(1), &Event::Healed);
        assert_ne!(other.hash(), hashed.hash());
    }
}
