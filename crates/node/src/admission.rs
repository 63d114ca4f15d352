//! How many bytes of batches may be in flight at once: between their arrival and their answer.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

/// Most callers that wait for room at once; the next one is refused.
pub const ADMISSION_WAITERS_MAX: usize = 64 << 10;

/// What a waiting batch takes beside its bytes, generously: its answer, its places in queues. So
/// many small batches are bounded by memory too.
pub const REQUEST_BYTES: usize = 512;

/// Counts the bytes in flight and lets callers wait for room, first come first served.
#[derive(Debug)]
pub struct Admission {
    bytes_max: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    taken: usize,
    waiting: VecDeque<Waiting>,
    is_handing_out: bool,
}

struct Waiting {
    bytes: usize,
    ready: Box<dyn FnOnce(Permit) + Send>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Queue({} bytes taken, {} waiting)",
            self.taken,
            self.waiting.len()
        )
    }
}

/// Room for some bytes; dropped, the room is free again.
#[derive(Debug)]
#[must_use = "room that is dropped is given back"]
pub struct Permit {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Permit {
    /// For how many bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.give_back(self.bytes);
    }
}

/// There is no room, and too many wait for it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{in_flight} bytes are in flight, of at most {max}; try again later")]
pub struct NoRoom {
    /// Bytes in flight.
    pub in_flight: usize,
    /// The setting `inflight_bytes_max`.
    pub max: usize,
}

impl Admission {
    /// Room for `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            queue: Mutex::default(),
        })
    }

    /// Bytes in flight now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.queue.lock().taken
    }

    /// Callers that wait for room now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// Room for `bytes` if there is any now and nobody waits for it.
    ///
    /// # Errors
    /// There is none.
    pub fn try_reserve(self: &Arc<Self>, bytes: usize) -> Result<Permit, NoRoom> {
        let mut queue = self.queue.lock();
        if queue.waiting.is_empty() && queue.has_room(bytes, self.bytes_max) {
            queue.taken += bytes;
            Ok(Permit {
                admission: Arc::clone(self),
                bytes,
            })
        } else {
            Err(NoRoom {
                in_flight: queue.taken,
                max: self.bytes_max,
            })
        }
    }

    /// Calls `ready` with room for `bytes`: at once, or when those before it have had theirs, on
    /// the thread that gives room back. A caller that no longer wants it drops the permit.
    ///
    /// # Errors
    /// [`ADMISSION_WAITERS_MAX`] callers wait already.
    pub fn reserve(
        self: &Arc<Self>,
        bytes: usize,
        ready: impl FnOnce(Permit) + Send + 'static,
    ) -> Result<(), NoRoom> {
        {
            let mut queue = self.queue.lock();
            if queue.waiting.is_empty() && queue.has_room(bytes, self.bytes_max) {
                queue.taken += bytes;
            } else if queue.waiting.len() >= ADMISSION_WAITERS_MAX {
                return Err(NoRoom {
                    in_flight: queue.taken,
                    max: self.bytes_max,
                });
            } else {
                queue.waiting.push_back(Waiting {
                    bytes,
                    ready: Box::new(ready),
                });
                return Ok(());
            }
        }
        ready(Permit {
            admission: Arc::clone(self),
            bytes,
        });
        Ok(())
    }

    /// Gives room back and hands it to those who wait. Only one thread hands out at a time, in a
    /// loop: a callback that gives its room back at once, as one that is no longer wanted does,
    /// leaves it to that loop instead of calling the next one from within.
    fn give_back(self: &Arc<Self>, bytes: usize) {
        let mut queue = self.queue.lock();
        queue.taken -= bytes;
        if queue.is_handing_out {
            return;
        }
        queue.is_handing_out = true;
        while let Some(next) = queue.take_next(self.bytes_max) {
            drop(queue);
            (next.ready)(Permit {
                admission: Arc::clone(self),
                bytes: next.bytes,
            });
            queue = self.queue.lock();
        }
        queue.is_handing_out = false;
    }
}

impl Queue {
    /// A batch larger than all the room there is goes alone.
    const fn has_room(&self, bytes: usize, bytes_max: usize) -> bool {
        self.taken == 0 || self.taken + bytes <= bytes_max
    }

    /// The next one that waits, if there is room for it; the room is taken then.
    fn take_next(&mut self, bytes_max: usize) -> Option<Waiting> {
        let bytes = self.waiting.front()?.bytes;
        if !self.has_room(bytes, bytes_max) {
            return None;
        }
        self.taken += bytes;
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_comes_back() {
        let admission = Admission::new(10);
        let six = admission.try_reserve(6).unwrap();
        assert_eq!(
            admission.try_reserve(5).unwrap_err(),
            NoRoom {
                in_flight: 6,
                max: 10
            }
        );
        let four = admission.try_reserve(4).unwrap();
        drop((six, four));
        assert_eq!(admission.in_flight(), 0);
    }

    #[test]
    fn what_is_larger_than_all_the_room_goes_alone() {
        let admission = Admission::new(10);
        let large = admission.try_reserve(99).unwrap();
        assert_eq!(large.bytes(), 99);
        assert!(admission.try_reserve(1).is_err());
        drop(large);
        assert!(admission.try_reserve(1).is_ok());
    }

    #[test]
    fn those_who_wait_are_served_in_order_and_not_overtaken() {
        let admission = Admission::new(10);
        let first = admission.try_reserve(10).unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        for bytes in [8, 1, 5] {
            let order = Arc::clone(&order);
            admission
                .reserve(bytes, move |permit| order.lock().push(permit))
                .unwrap();
        }
        assert!(admission.try_reserve(0).is_err(), "nobody overtakes");
        drop(first);
        let served =
            |order: &Mutex<Vec<Permit>>| order.lock().iter().map(Permit::bytes).collect::<Vec<_>>();
        assert_eq!((served(&order), admission.waiting()), (vec![8, 1], 1));
        let eight = order.lock().remove(0);
        drop(eight);
        assert_eq!((served(&order), admission.in_flight()), (vec![1, 5], 6));
    }

    #[test]
    fn the_line_is_bounded() {
        let admission = Admission::new(1);
        let all = admission.try_reserve(1).unwrap();
        for _ in 0..ADMISSION_WAITERS_MAX {
            admission.reserve(1, drop).unwrap();
        }
        assert_eq!(
            admission.reserve(1, drop),
            Err(NoRoom {
                in_flight: 1,
                max: 1
            })
        );
        drop(all);
        assert_eq!(
            (admission.waiting(), admission.in_flight()),
            (0, 0),
            "all gave it back at once"
        );
    }
}
