//! Reads, orders, and looks from outside.

use trilith_raft::{Change, EntryId, ReadDone, ReadId, Role, Sending, Transition};
use trilith_storage::{Log, LogConfig};
use trilith_types::NodeId;

use super::{Cx, Replica};
use crate::{
    ChangeRefused, Discard, DiscardRefused, GroupStatus, ReadRefused, TransferRefused,
    event::{ChangeReply, DiscardReply, ReadReply, TransferReply},
    machine::Machine,
};

impl<M: Machine> Replica<M> {
    /// A read is to be confirmed.
    pub(crate) fn read(&mut self, cx: &Cx<M>, reply: ReadReply) {
        if self.is_deaf(cx) {
            reply(Err(ReadRefused::Stopped));
            return;
        }
        self.next_read += 1;
        let id = ReadId(self.next_read);
        match self.core.read(cx.now.moment(), id) {
            Ok(()) => {
                self.reads.insert(id, reply);
            }
            Err(error) => reply(Err(error.into())),
        }
    }

    pub(super) fn read_done(&mut self, done: ReadDone) {
        let Some(reply) = self.reads.remove(&done.id) else {
            return;
        };
        match done.result {
            Ok(index) if index <= self.applied => reply(Ok(index)),
            Ok(index) => self.reads_waiting.entry(index).or_default().push(reply),
            Err(error) => reply(Err(error.into())),
        }
    }

    pub(crate) fn transfer(&mut self, cx: &Cx<M>, to: NodeId, reply: TransferReply) {
        if self.is_deaf(cx) {
            reply(Err(TransferRefused::Stopped));
            return;
        }
        reply(self.core.transfer(to).map_err(TransferRefused::from));
    }

    pub(crate) fn change(
        &mut self,
        cx: &mut Cx<M>,
        changes: &[Change],
        transition: Transition,
        reply: ChangeReply,
    ) {
        if self.is_deaf(cx) {
            reply(Err(ChangeRefused::Unknown));
            return;
        }
        if self.write.is_stalled() {
            reply(Err(ChangeRefused::DiskFull));
            return;
        }
        // What is proposed goes before it.
        self.drain(cx);
        match self.core.change_membership(changes, transition) {
            Ok(proposed) => {
                let id = EntryId {
                    term: proposed.term,
                    index: proposed.first,
                };
                self.changes.push(id, reply);
                // Its entry is in the log before anything else is decided.
                self.drain(cx);
            }
            Err(error) => reply(Err(error.into())),
        }
    }

    /// What is doubtful in the log is told, and dropped if that is confirmed. A leader counts on what
    /// this replica has acknowledged to it, so that none may be there.
    pub(crate) fn discard_doubtful(&mut self, cx: &Cx<M>, confirmed: bool, reply: DiscardReply) {
        if self.is_deaf(cx) {
            reply(Err(DiscardRefused::Stopped));
            return;
        }
        let doubtful = self.core.doubtful();
        let is_done = confirmed && !doubtful.is_nothing();
        if is_done {
            if let Some(leader) = self.followed(cx) {
                reply(Err(DiscardRefused::Led { leader }));
                return;
            }
            tracing::warn!(group = %self.group, ?doubtful, "an operator has doubtful entries dropped");
            self.core.discard_doubtful();
        }
        let role = self.core.status().role;
        reply(Ok(Discard {
            role,
            doubtful,
            is_done,
        }));
    }

    /// Another node that leads, as far as is known, and is heard of.
    fn followed(&self, cx: &Cx<M>) -> Option<NodeId> {
        let leader = self.core.status().leader.filter(|&id| id != cx.node())?;
        let is_suspected = self.core.peer(leader).is_some_and(|peer| peer.suspected);
        (!is_suspected).then_some(leader)
    }

    pub(crate) fn campaign(&mut self, cx: &Cx<M>) {
        if !self.is_deaf(cx) {
            self.core.campaign();
        }
    }

    pub(crate) fn set_priority(&mut self, priority: u8) {
        self.priority = priority;
        if !self.write.is_stalled() {
            self.core.set_priority(priority);
        }
    }

    pub(crate) fn instruct(&mut self, instruction: impl FnOnce(&mut M, &Log)) {
        instruction(&mut self.machine, &self.log);
    }

    pub(crate) fn configure(&mut self, log: LogConfig) {
        match self.log.set_config(log.clone()) {
            Ok(()) => self.log_config = log,
            Err(error) => {
                tracing::error!(group = %self.group, %error, "a log keeps its settings");
            }
        }
    }

    /// Hands leadership to the voter that has most of the log, if there is one to hand it to.
    /// Whether it is being handed over.
    pub(crate) fn hand_over(&mut self, cx: &Cx<M>) -> bool {
        let status = self.core.status();
        if self.stopped.is_some() || status.role != Role::Leader {
            return false;
        }
        if status.transfer.is_some() {
            return true;
        }
        let me = cx.node();
        let voters = self.core.configuration().voters.incoming().iter().copied();
        let fit = voters.filter(|&id| id != me).filter_map(|id| {
            let peer = self.core.peer(id)?;
            let fits =
                !peer.suspected && !cx.leaving.contains(&id) && peer.sending != Sending::Snapshot;
            fits.then_some((peer.matched, id))
        });
        let Some((_, to)) = fit.max() else {
            return false;
        };
        self.core.transfer(to).is_ok()
    }

    /// The replica at a glance.
    pub(crate) fn status(&self) -> GroupStatus {
        let members = self.core.configuration().clone();
        let peers = members.members();
        let peers = peers.filter_map(|id| Some((id, self.core.peer(id)?)));
        let peers = peers.collect();
        GroupStatus {
            core: self.core.status(),
            peers,
            members,
            start_index: self.log.start_index(),
            start_offset: self.log.start_offset(),
            visible_upto: self.log.visible_upto(),
            end_offset: self.log.end_offset(),
            bytes: self.log.bytes(),
            segments: self.log.segments().len(),
            synced: self.log.synced().index,
            damaged_ranges: self.log.damage().len(),
            is_disk_full: self.write.is_stalled(),
            stopped: self.stopped.clone(),
        }
    }
}
