//! Groups on shards: each drives a consensus core, the journal, a log and a state machine.
