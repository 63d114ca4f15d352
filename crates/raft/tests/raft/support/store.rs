//! What a node keeps: term, vote, log and state, as they are on disk or on their way to it.

use trilith_raft::{Configuration, EntryId, HardState, LogOp, TermRuns};
use trilith_types::{LogIndex, Term};

/// An entry's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Noop,
    Value(String),
    Members(Configuration),
}

/// A node's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    pub hard: HardState,
    pub base: EntryId,
    pub base_configuration: Configuration,
    /// The state as of the base.
    pub base_state: Vec<String>,
    pub entries: Vec<(Term, Data)>,
    pub commit: LogIndex,
}

impl Store {
    pub fn last_index(&self) -> LogIndex {
        self.base.index.plus(self.entries.len() as u64)
    }

    fn position(&self, index: LogIndex) -> Option<usize> {
        Some(index.since(self.base.index)?.checked_sub(1)? as usize)
    }

    pub fn get(&self, index: LogIndex) -> Option<&(Term, Data)> {
        self.entries.get(self.position(index)?)
    }

    pub fn runs(&self) -> TermRuns {
        let mut runs = TermRuns::starting_after(self.base);
        for (term, _) in &self.entries {
            runs.append(*term, 1);
        }
        runs
    }

    pub fn configurations(&self) -> Vec<(LogIndex, Configuration)> {
        let mut found = Vec::new();
        for (at, (_, data)) in self.entries.iter().enumerate() {
            if let Data::Members(configuration) = data {
                found.push((self.base.index.plus(at as u64 + 1), configuration.clone()));
            }
        }
        found
    }

    pub fn configuration_at(&self, index: LogIndex) -> Configuration {
        let upto = self
            .configurations()
            .into_iter()
            .rfind(|entry| entry.0 <= index);
        upto.map_or_else(|| self.base_configuration.clone(), |entry| entry.1)
    }

    /// Carries out one operation. `data` are the payloads that go with it, `install` the staged
    /// snapshot's state and members.
    pub fn apply(
        &mut self,
        op: &LogOp,
        data: &[Data],
        install: Option<&(Vec<String>, Configuration)>,
    ) {
        match op {
            LogOp::Truncate { from } => {
                let keep = self
                    .position(*from)
                    .expect("a truncation starts past the base");
                self.entries.truncate(keep);
            }
            LogOp::Append {
                term, first, last, ..
            } => {
                assert_eq!(*first, self.last_index().next(), "an append leaves no hole");
                assert_eq!(data.len() as u64, last.get() + 1 - first.get());
                self.entries.extend(data.iter().map(|d| (*term, d.clone())));
            }
            LogOp::Rewrite { first, .. } => {
                let at = self.position(first.index).unwrap();
                for (offset, d) in data.iter().enumerate() {
                    self.entries[at + offset].1 = d.clone();
                }
            }
            LogOp::Install { last, keep_suffix } => {
                let (state, members) = install.expect("only a staged snapshot is installed");
                let kept = if *keep_suffix {
                    let from = self.position(last.index.next()).unwrap_or(0);
                    self.entries.split_off(from.min(self.entries.len()))
                } else {
                    Vec::new()
                };
                self.entries = kept;
                self.base = *last;
                self.base_state = state.clone();
                self.base_configuration = members.clone();
            }
        }
    }

    /// Forgets the log up to `index`; `state` is the state as of that entry.
    pub fn trim(&mut self, index: LogIndex, state: Vec<String>) {
        let term = self.get(index).expect("what is trimmed is there").0;
        self.base_configuration = self.configuration_at(index);
        let gone = self.position(index).unwrap() + 1;
        self.entries.drain(..gone);
        self.base = EntryId { term, index };
        self.base_state = state;
    }
}
