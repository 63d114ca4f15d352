//! What all nodes say of each group, held against each other: they apply the same entries in the
//! same order to the same effect, hold the same entries in their logs, and show consumers a
//! beginning of that.

use std::collections::BTreeMap;

use trilith_storage::StoredEntry;
use trilith_types::{GroupId, LogIndex, NodeId};

use super::machine::{Applied, digest};

/// What is known of one group.
#[derive(Debug, Default)]
struct Book {
    /// What was applied first, by its place in the sequence.
    applied: Vec<Applied>,
    /// A digest of each committed entry, by its index.
    entries: BTreeMap<LogIndex, u64>,
}

/// What is known of all groups.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    books: BTreeMap<GroupId, Book>,
}

impl Ledger {
    /// A node has applied something.
    ///
    /// # Errors
    /// How it differs from what another node has applied.
    pub(super) fn applied(
        &mut self,
        node: NodeId,
        group: GroupId,
        now: Applied,
    ) -> Result<(), String> {
        let book = self.books.entry(group).or_default();
        let place = (now.count as usize).wrapping_sub(1);
        match book.applied.get(place) {
            Some(known) if *known != now => Err(format!(
                "node {node} has applied {now:?} in group {group}; elsewhere it was {known:?}"
            )),
            Some(_) => Ok(()),
            None if place == book.applied.len() => {
                book.applied.push(now);
                Ok(())
            }
            None => Err(format!(
                "node {node} has applied {now:?} in group {group}, where only {} were applied",
                book.applied.len()
            )),
        }
    }

    /// A node's state is replaced by one that ends with this.
    ///
    /// # Errors
    /// When no node has ever been there.
    pub(super) fn restored(
        &self,
        node: NodeId,
        group: GroupId,
        now: Applied,
    ) -> Result<(), String> {
        let book = self.books.get(&group);
        let known = (now.count as usize)
            .checked_sub(1)
            .map_or(Some(Applied::default()), |place| {
                book?.applied.get(place).copied()
            });
        if known == Some(now) {
            return Ok(());
        }
        Err(format!(
            "node {node} takes the state {now:?} in group {group}; it was {known:?}"
        ))
    }

    /// A node's log holds this committed entry.
    ///
    /// # Errors
    /// How it differs from what another node holds.
    pub(super) fn holds(
        &mut self,
        node: NodeId,
        group: GroupId,
        entry: &StoredEntry,
    ) -> Result<(), String> {
        let meta = &entry.meta;
        let text = format!("{meta:?}");
        let now = digest(digest(0, text.as_bytes()), &entry.payload);
        let book = self.books.entry(group).or_default();
        let known = *book.entries.entry(meta.index).or_insert(now);
        if known == now {
            return Ok(());
        }
        Err(format!(
            "node {node} holds {meta:?} in group {group}; another node holds another entry there"
        ))
    }
}
