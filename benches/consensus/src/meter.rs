//! Counts what a core allocates, apart from its host. The counting allocator is switched off
//! while time is measured; what it still costs then takes about 5% from the side that
//! allocates.

/// A count of allocations; off until it is asked for.
#[derive(Default)]
pub struct Meter {
    pub on: bool,
    pub allocations: u64,
}

impl Meter {
    /// Calls into a core.
    pub fn core<T>(&mut self, call: impl FnOnce() -> T) -> T {
        if !self.on {
            return call();
        }
        let mut result = None;
        let info = allocation_counter::measure(|| result = Some(call()));
        self.allocations += info.count_total;
        result.expect("the call has returned")
    }
}

/// How many bytes of memory come free with `value`.
pub fn bytes_of<T>(value: T) -> u64 {
    let info = allocation_counter::measure(|| drop(value));
    u64::try_from(-info.bytes_current).expect("memory was given back")
}
