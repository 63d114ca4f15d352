//! What a run went through, in numbers.

use std::{collections::BTreeMap, fmt};

use crate::{
    event::{Event, Note, Role},
    faults::FaultKind,
    history::Outcome,
    log_event::LogEvent,
    time::{SimTime, Span},
};

/// Things that runs should reach, beside the [`Note`]s; in the order in which they are printed.
const REACHED: [&str; 26] = [
    "elections",
    "truncations",
    "compactions",
    "snapshots-sent",
    "snapshots-installed",
    "configurations",
    "joint-configurations",
    "damaged-entries",
    "repairs",
    "unknown-suffixes",
    "lost-votes",
    "lost-logs",
    "full-logs",
    "refusals",
    "restarts",
    "lease-reads",
    "operations-done",
    "operations-unknown",
    "operations-refused",
    "batches-acknowledged",
    "records-fetched",
    "readers-overtaken",
    "partitions-audited",
    "damage-met",
    "topics-made",
    "topics-deleted",
];

/// Sums over one run or many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Runs.
    pub runs: u64,
    /// Simulated time.
    pub simulated: Span,
    /// Events.
    pub events: u64,
    /// Messages that were sent.
    pub messages: u64,
    /// Objects whose history took too long to check.
    pub unchecked: u64,
    counts: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
}

impl Stats {
    fn reach(&mut self, name: &'static str, times: u64) {
        *self.counts.entry(name).or_default() += times;
    }

    /// Counts a fault that struck.
    pub fn fault(&mut self, kind: FaultKind) {
        *self.faults.entry(kind.name()).or_default() += 1;
    }

    /// Takes an event in.
    pub fn observe(&mut self, event: &Event<'_>) {
        self.events += 1;
        match *event {
            Event::Fault { kind, .. } => self.fault(kind),
            Event::Sent { .. } => self.messages += 1,
            Event::Started {
                incarnation,
                damaged,
                unknown_suffix,
                lost_vote,
                ..
            } => {
                self.reach("restarts", u64::from(incarnation.get() > 1));
                self.reach("damaged-entries", damaged.len() as u64);
                self.reach("unknown-suffixes", u64::from(unknown_suffix));
                self.reach("lost-votes", u64::from(lost_vote));
            }
            Event::Stopped {
                why: crate::event::Down::Refused,
                ..
            } => self.reach("refusals", 1),
            Event::Role {
                role: Role::Leader, ..
            } => self.reach("elections", 1),
            Event::Truncated { .. } => self.reach("truncations", 1),
            Event::Compacted { .. } => self.reach("compactions", 1),
            Event::Installed { .. } => self.reach("snapshots-installed", 1),
            Event::Repaired { .. } => self.reach("repairs", 1),
            Event::Configured {
                index,
                configuration,
                ..
            } if index.get() > 0 => {
                self.reach("configurations", 1);
                self.reach("joint-configurations", u64::from(configuration.is_joint()));
            }
            Event::LeaseRead { .. } => self.reach("lease-reads", 1),
            Event::Returned { outcome, .. } => self.reach(
                match outcome {
                    Outcome::Done(_) => "operations-done",
                    Outcome::Unknown => "operations-unknown",
                    Outcome::Refused => "operations-refused",
                },
                1,
            ),
            Event::Log(LogEvent::Acknowledged { .. }) => self.reach("batches-acknowledged", 1),
            Event::Log(LogEvent::Fetched { records, .. }) => {
                self.reach("records-fetched", records.len() as u64);
            }
            Event::Log(LogEvent::Overtaken { .. }) => self.reach("readers-overtaken", 1),
            Event::Log(LogEvent::Audited { .. }) => self.reach("partitions-audited", 1),
            Event::Log(LogEvent::TopicMade { .. }) => self.reach("topics-made", 1),
            Event::Log(LogEvent::TopicGone { .. }) => self.reach("topics-deleted", 1),
            Event::Note { kind, .. } => self.reach(kind.name(), 1),
            Event::Counted { what, times, .. } => self.reach(what.name(), times),
            _ => {}
        }
    }

    /// Ends a run at this moment.
    pub fn end(&mut self, now: SimTime) {
        self.runs += 1;
        self.simulated = Span(self.simulated.0 + now.0);
    }

    /// Adds the sums of other runs.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.simulated = Span(self.simulated.0 + other.simulated.0);
        self.events += other.events;
        self.messages += other.messages;
        self.unchecked += other.unchecked;
        for (name, times) in &other.counts {
            *self.counts.entry(name).or_default() += times;
        }
        for (name, times) in &other.faults {
            *self.faults.entry(name).or_default() += times;
        }
    }

    /// How often something was reached.
    #[must_use]
    pub fn reached(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// The names of all that can be reached.
    pub fn reachable() -> impl Iterator<Item = &'static str> {
        REACHED
            .into_iter()
            .chain(Note::ALL.into_iter().map(Note::name))
    }

    /// Everything as lines of a name and a number, for a file that keeps sums.
    #[must_use]
    pub fn to_lines(&self) -> String {
        let mut lines = format!(
            "runs {}\nsimulated {}\nevents {}\nmessages {}\nunchecked {}\n",
            self.runs, self.simulated.0, self.events, self.messages, self.unchecked
        );
        for (name, times) in &self.counts {
            lines.push_str(&format!("event.{name} {times}\n"));
        }
        for (name, times) in &self.faults {
            lines.push_str(&format!("fault.{name} {times}\n"));
        }
        lines
    }

    /// Reads what [`Stats::to_lines`] wrote; names that this build does not know are left out.
    #[must_use]
    pub fn from_lines(lines: &str) -> Self {
        let mut stats = Self::default();
        for (name, number) in lines.lines().filter_map(|l| l.split_once(' ')) {
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match name {
                "runs" => stats.runs = number,
                "simulated" => stats.simulated = Span(number),
                "events" => stats.events = number,
                "messages" => stats.messages = number,
                "unchecked" => stats.unchecked = number,
                _ => stats.set(name, number),
            }
        }
        stats
    }

    fn set(&mut self, name: &str, number: u64) {
        if let Some(event) = name.strip_prefix("event.") {
            if let Some(known) = Self::reachable().find(|n| *n == event) {
                self.counts.insert(known, number);
            }
        } else if let Some(fault) = name.strip_prefix("fault.")
            && let Some(known) = FaultKind::ALL
                .into_iter()
                .map(FaultKind::name)
                .find(|n| *n == fault)
        {
            self.faults.insert(known, number);
        }
    }
}

/// Sums as text, with what they have no number for.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    stats: &'a Stats,
    absent: &'a [&'static str],
}

impl Stats {
    /// The sums as text, for a world in which some things cannot happen or cannot be seen: see
    /// [`crate::world::World::absent`].
    #[must_use]
    pub const fn report<'a>(&'a self, absent: &'a [&'static str]) -> Report<'a> {
        let stats = self;
        Report { stats, absent }
    }
}

impl Report<'_> {
    fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let times = |name| self.stats.faults.get(name).copied().unwrap_or(0);
        let names = FaultKind::ALL.into_iter().map(FaultKind::name);
        self.expected(names).map(move |name| (name, times(name)))
    }

    fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = self.expected(Stats::reachable());
        names.map(|name| (name, self.stats.reached(name)))
    }

    fn expected(
        &self,
        names: impl Iterator<Item = &'static str>,
    ) -> impl Iterator<Item = &'static str> {
        names.filter(|name| !self.absent.contains(name))
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats;
        let seconds = stats.simulated.0 / 1_000_000;
        writeln!(
            f,
            "runs {}, simulated {seconds} s, events {}, messages {}",
            stats.runs, stats.events, stats.messages
        )?;
        f.write_str("faults:")?;
        for (name, times) in self.faults() {
            write!(f, " {name}={times}")?;
        }
        f.write_str("\nevents:")?;
        for (name, times) in self.events() {
            write!(f, " {name}={times}")?;
        }
        let all = self.events().chain(self.faults());
        let never = all.filter(|(_, times)| *times == 0).map(|(name, _)| name);
        let never: Vec<&str> = never.collect();
        match never.as_slice() {
            [] => f.write_str("\nnever exercised: nothing"),
            never => write!(f, "\nnever exercised: {}", never.join(" ")),
        }?;
        if stats.unchecked > 0 {
            write!(f, "\nhistories too large to check: {}", stats.unchecked)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::{NodeId, Term};

    use super::*;

    fn some() -> Stats {
        let mut stats = Stats::default();
        stats.observe(&Event::Role {
            node: NodeId(1),
            term: Term(1),
            role: Role::Leader,
        });
        stats.observe(&Event::Note {
            node: NodeId(1),
            kind: Note::Quiet,
        });
        stats.fault(FaultKind::Crash);
        stats.end(SimTime(2_500_000));
        stats
    }

    #[test]
    fn what_was_never_exercised_is_said() {
        let text = some()
            .report(&["joint-configurations", "pause"])
            .to_string();
        assert!(text.contains("runs 1, simulated 2 s") && text.contains(" elections=1"));
        let never = text.lines().last().unwrap();
        assert!(never.contains("truncations") && never.contains("power-cut"));
        assert!(!never.contains("elections") && !never.contains(" quiet"));
        assert!(!text.contains("joint-configurations") && !text.contains("pause"));
    }

    #[test]
    fn sums_survive_a_file() {
        let mut sum = some();
        sum.add(&some());
        assert_eq!(sum.reached("elections"), 2);
        assert_eq!(Stats::from_lines(&sum.to_lines()), sum);
        assert_eq!(
            Stats::from_lines("runs x\nevent.nonsense 3\n"),
            Stats::default()
        );
    }
}
