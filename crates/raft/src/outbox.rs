//! What a core wants done, until the host drains it.

use crate::{message::Message, output::Output};

/// Messages, and everything else. An idle group has nothing but heartbeats and their answers: what
/// else there may be is not even looked at then.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) messages: Vec<Message>,
    rest: Output,
    used: bool,
}

impl Outbox {
    /// For anything but messages.
    pub(crate) fn rest(&mut self) -> &mut Output {
        self.used = true;
        &mut self.rest
    }

    pub(crate) fn has_log(&self) -> bool {
        self.used && !self.rest.log.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.used
    }

    /// Moves everything to the ends of the lists of `out`.
    pub(crate) fn move_to(&mut self, out: &mut Output) {
        out.messages.append(&mut self.messages);
        if !std::mem::take(&mut self.used) {
            return;
        }
        let rest = &mut self.rest;
        out.log.append(&mut rest.log);
        out.sends.append(&mut rest.sends);
        out.repairs.append(&mut rest.repairs);
        out.snapshots.append(&mut rest.snapshots);
        out.reads.append(&mut rest.reads);
        out.commit = rest.commit.take().or(out.commit);
        out.configuration = rest.configuration.take().or(out.configuration.take());
        out.trim = rest.trim.take().or(out.trim);
        out.unknown_settled |= std::mem::take(&mut rest.unknown_settled);
    }
}
