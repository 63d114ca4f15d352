//! Inputs, and one turn: the core is drained until it wants nothing more.

use trilith_peer::{GroupMessage, NodeMessage};
use trilith_raft::{
    Body, EntryRuns, Output, Role, RoleChange,
    message::{Append, RepairPiece},
};
use trilith_types::{EntryMeta, EntryPayload, LogIndex, NodeId};

use super::{Cx, Replica};
use crate::machine::Machine;

/// Most drains in one turn. What is left comes in the next one, so that one group cannot keep the
/// others of its shard waiting.
const DRAINS_MAX: usize = 256;

impl<M: Machine> Replica<M> {
    /// Whether inputs are taken.
    pub(crate) fn is_deaf(&self, cx: &Cx<M>) -> bool {
        self.stopped.is_some() || self.doubt_unsaved || cx.failed.is_some() || cx.is_settling
    }

    /// A core of another node speaks.
    pub(crate) fn message(&mut self, cx: &mut Cx<M>, message: GroupMessage) {
        if self.is_deaf(cx) {
            return;
        }
        let GroupMessage { message, entries } = message;
        let brings = !entries.is_empty();
        if (brings && !self.write.takes_more()) || !entries_fit(&message.body, &entries) {
            cx.metrics.refused_messages.add(1);
            return;
        }
        self.received = entries;
        if self.core.step(cx.now.moment(), message).is_err() {
            cx.metrics.dropped_messages.add(1);
        }
        if brings {
            // Their payloads are here only now.
            self.drain(cx);
            self.received = Vec::new();
        }
    }

    /// A tick's time has passed.
    pub(crate) fn tick(&mut self, cx: &mut Cx<M>) {
        if self.is_deaf(cx) {
            return;
        }
        self.core.tick(cx.now.moment());
        self.send_news(cx);
        self.retry_sends(cx);
        self.pace_snapshots(cx);
    }

    /// Something was learnt of a peer's node.
    pub(crate) fn peer(&mut self, cx: &Cx<M>, node: NodeId, is_suspected: bool) {
        if self.is_deaf(cx) {
            return;
        }
        if is_suspected {
            self.core.peer_suspect(node);
        } else {
            self.core.peer_alive(node);
        }
    }

    /// One turn: proposes what was asked for, carries out what the core wants, applies what may be
    /// applied, and hands everything that is to be durable to the journal.
    pub(crate) fn turn(&mut self, cx: &mut Cx<M>) {
        if cx.failed.is_some() {
            self.answer_all(cx);
            return;
        }
        if self.stopped.is_some() || self.doubt_unsaved {
            // The journal waits for no group that does nothing more.
            self.refuse_requests(cx);
            self.flush_only(cx);
            self.submit_mark_if_due(cx);
            self.attend_segments(cx);
            return;
        }
        self.tick_slowly(cx);
        self.retry_disk(cx);
        self.retry_files(cx);
        self.drain(cx);
        self.lead_if_elected(cx);
        self.chore_if_due(cx);
        self.propose_requests(cx);
        self.drain(cx);
        for _ in 0..DRAINS_MAX {
            self.apply_some(cx);
            let persisted = self.flush_writes(cx);
            if !self.drain(cx) && !persisted {
                break;
            }
        }
        self.flush_writes(cx);
        self.attend_segments(cx);
        if self.wants_turn() {
            cx.again.push(self.group);
        }
    }

    /// Whether there is more to do that nothing else would bring it back for.
    fn wants_turn(&self) -> bool {
        self.stopped.is_none() && self.applied < self.handed && !self.apply_blocked
    }

    /// Carries out what the core wants, until it wants nothing more. Whether it wanted anything.
    pub(super) fn drain(&mut self, cx: &mut Cx<M>) -> bool {
        let mut out = std::mem::take(&mut cx.out);
        let mut any = false;
        for _ in 0..DRAINS_MAX {
            if self.stopped.is_some() || cx.failed.is_some() {
                break;
            }
            self.core.drain(&mut out);
            if out.is_empty() {
                break;
            }
            any = true;
            self.carry_out(cx, &mut out);
            out.clear();
        }
        out.clear();
        cx.out = out;
        any
    }

    fn carry_out(&mut self, cx: &mut Cx<M>, out: &mut Output) {
        let role = out.role.take();
        if let Some(change) = role
            && self
                .leading
                .is_some_and(|term| change.role != Role::Leader || change.term != term)
        {
            self.step_aside(cx);
        }
        self.take_log_ops(cx, out);
        if let Some((_, members)) = out.configuration.take() {
            self.members_changed(cx, &members);
        }
        if let Some(change) = role {
            self.role_changed(cx, change);
        }
        if let Some(commit) = out.commit.take() {
            self.shared.set_commit(commit);
        }
        for message in out.messages.drain(..) {
            let to = message.to;
            self.send_message(
                cx,
                to,
                GroupMessage {
                    message,
                    entries: Vec::new(),
                },
            );
        }
        for send in out.sends.drain(..) {
            self.fetch_and_send(cx, send);
        }
        for repair in out.repairs.drain(..) {
            self.fetch_and_repair(cx, repair);
        }
        for op in out.snapshots.drain(..) {
            self.snapshot_op(cx, op);
        }
        if let Some(apply) = out.apply.take() {
            self.handed = self.handed.max(apply.last);
        }
        for read in out.reads.drain(..) {
            self.read_done(read);
        }
        if out.unknown_settled {
            self.doubt = None;
            self.segments.mark_soon();
        }
        if let Some(upto) = out.trim.take() {
            self.give_up_entries(cx, upto);
        }
    }

    /// Nobody has some entries up to `upto` any more but in a state. The log can be trimmed past what
    /// it holds; one that never came into it, because the journal has lost it, keeps everything
    /// behind it out of the log for good, so that the replica begins anew from a peer's snapshot.
    fn give_up_entries(&mut self, cx: &mut Cx<M>, upto: LogIndex) {
        let first = self.write.waiting().iter().next();
        let lost = first.filter(|(meta, bytes)| meta.index <= upto && bytes.is_none());
        if let Some(lost) = lost.map(|(meta, _)| meta.index) {
            tracing::warn!(group = %self.group, index = %lost, "a lost entry is in snapshots alone");
            self.step_aside(cx);
            self.core.state_machine_lost();
        } else {
            self.segments.trim_index(upto);
        }
    }

    pub(super) fn send_message(&mut self, cx: &Cx<M>, to: NodeId, message: GroupMessage) {
        if let Body::Append(append) = &message.message.body {
            self.news.retain(|(peer, _)| *peer != to);
            if self.may_wait(cx, append) {
                return self.news.push((to, message));
            }
        }
        Self::send_now(cx, to, message);
    }

    fn send_now(cx: &Cx<M>, to: NodeId, message: GroupMessage) {
        cx.metrics.sent_messages.add(1);
        cx.outbound.send(to, NodeMessage::Group(message));
    }

    /// News of the commit index alone: the next entries bring them, too, and until then a follower
    /// does nothing with them that anybody waits for, unless the state is for other nodes than the
    /// leader as well. So they wait for the next tick. A leader that leaves says them at once.
    fn may_wait(&self, cx: &Cx<M>, append: &Append) -> bool {
        let is_news = append.runs.is_empty() && !append.probe;
        is_news && self.leading.is_some() && self.machine.log_is_data() && !cx.is_closing
    }

    /// Sends the news that no entries have brought.
    fn send_news(&mut self, cx: &Cx<M>) {
        for (to, message) in self.news.drain(..) {
            Self::send_now(cx, to, message);
        }
    }

    fn role_changed(&mut self, cx: &mut Cx<M>, change: RoleChange) {
        if change.role == Role::Leader {
            cx.metrics.elections_won.add(1);
            // It is shown as one that takes requests once the machine knows.
            self.lead_if_elected(cx);
        } else {
            self.tell_role(cx, change);
        }
    }

    /// Tells those outside of the role.
    pub(super) fn tell_role(&mut self, cx: &Cx<M>, change: RoleChange) {
        self.shared.change(|view| {
            view.role = change.role;
            view.term = change.term;
            view.leader = change.leader;
        });
        self.machine.on_role(self.group, &change);
        let members = self.core.configuration();
        cx.observer.role(self.group, &change, members);
    }

    fn members_changed(&self, cx: &Cx<M>, members: &trilith_raft::Configuration) {
        let shared = std::sync::Arc::new(members.clone());
        self.shared.change(|view| view.members = shared);
        let status = self.core.status();
        let role = RoleChange {
            role: status.role,
            term: status.term,
            leader: status.leader,
        };
        cx.observer.role(self.group, &role, members);
    }
}

/// Whether the entries beside a message are those that it speaks of: a peer that gets this wrong
/// is not to be trusted with more.
fn entries_fit(body: &Body, entries: &[(EntryMeta, EntryPayload)]) -> bool {
    match body {
        Body::Append(append) => {
            append.runs.count() == entries.len() as u64
                && run_fits(append.prev.index.next(), &append.runs, &mut entries.iter())
        }
        Body::Repair(repair) => {
            let mut before = LogIndex::ZERO;
            let mut rest = entries.iter();
            let mut fits = |piece: &RepairPiece| {
                let ascends = piece.first > before;
                before = piece.first.plus(piece.runs.count()).prev();
                ascends && run_fits(piece.first, &piece.runs, &mut rest)
            };
            repair.count() == entries.len() as u64 && repair.pieces.iter().all(&mut fits)
        }
        _ => entries.is_empty(),
    }
}

/// Whether the next entries are those of these runs.
fn run_fits(
    mut index: LogIndex,
    runs: &EntryRuns,
    entries: &mut std::slice::Iter<'_, (EntryMeta, EntryPayload)>,
) -> bool {
    for run in runs.iter() {
        let upto = index.plus(run.count);
        while index < upto {
            let fits = entries
                .next()
                .is_some_and(|(meta, _)| meta.index == index && meta.term == run.term);
            if !fits {
                return false;
            }
            index = index.next();
        }
    }
    index > LogIndex::ZERO
}
