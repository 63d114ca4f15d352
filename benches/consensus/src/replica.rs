//! What both cores with their hosts can do, and the settings that they share.

use crate::meter::Meter;

/// Nodes in every group.
pub const NODES: u64 = 3;
/// Ticks without a leader before an election.
pub const ELECTION_TICKS: u32 = 10;
/// Ticks between heartbeats.
pub const HEARTBEAT_TICKS: u32 = 1;
/// Most appends on their way to one peer.
pub const INFLIGHT_MAX: u32 = 64;
/// Most payload bytes in one append.
pub const SEND_BYTES_MAX: u64 = 1 << 20;

/// How a replica is set up.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Its node, from 1.
    pub node: u64,
    /// Its group.
    pub group: u64,
    /// Whether a group with nothing to do may stop its ticks, where the core can do that.
    pub quiet: bool,
    /// Hosts hold this many applied entries, up to twice as many for a while.
    pub keep_entries: usize,
}

/// A core with its host: entries are kept in memory, writes are durable at once, and applying an
/// entry looks at its payload.
pub trait Replica: Sized {
    /// What goes from node to node, payloads included.
    type Message;

    fn new(setup: Setup) -> Self;

    /// Asks for an election.
    fn campaign(&mut self);

    /// Proposes one entry.
    fn propose(&mut self, payload: Vec<u8>);

    fn receive(&mut self, message: Self::Message);

    /// Says whether there may be something to carry out.
    fn tick(&mut self) -> bool;

    /// Carries out everything that the core wants. Messages come with the position of the
    /// node that they go to.
    fn turn(&mut self, send: &mut impl FnMut(usize, Self::Message));

    /// The last applied index.
    fn applied(&self) -> u64;

    fn is_leader(&self) -> bool;

    /// From now on writes never become durable.
    fn stop_disk(&mut self);

    /// Counts what the core allocates.
    fn meter(&mut self) -> &mut Meter;

    /// The memory of the core alone, the entries that the host holds left out.
    fn into_core_bytes(self) -> u64;
}
