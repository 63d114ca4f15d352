//! `trilith cluster discard`.

use clap::Args;
use serde_json::{Value, json};
use trilith_client::{Discard as Found, PartitionId};

use crate::{
    connection::Patient,
    failure::Failure,
    output::{Listing, print_json, print_line},
};

pub(super) const AFTER_HELP: &str = "\
Examples:
  trilith cluster discard --topic orders --partition 0 --endpoints a:7400          lists what would go
  trilith cluster discard --topic orders --partition 0 --endpoints a:7400 --yes    drops it
  trilith cluster discard --controller --endpoints a:7400

A replica that has lost the bytes of an entry, or cannot tell where its log ended, asks the others before it
gives anything up. When one of them is gone for good it may wait for ever, and its partition has no leader.
This is the last resort then: what that one node is in doubt about is dropped from its log. Acknowledged
records among it are lost. Look at every node that is left first, and bring back the one that is gone if there
is a way; afterwards 'cluster replace' puts a new node in its place. It is refused while the node follows a
leader.";

#[derive(Debug, Args)]
pub(super) struct Discard {
    /// The partition's topic
    #[arg(
        long,
        requires = "partition",
        conflicts_with = "controller",
        required_unless_present = "controller"
    )]
    topic: Option<String>,
    /// The partition
    #[arg(
        long,
        value_name = "N",
        requires = "topic",
        conflicts_with = "controller"
    )]
    partition: Option<u32>,
    /// Not a partition but the cluster's own state
    #[arg(long)]
    controller: bool,
    /// Drop it; without this flag it is only listed
    #[arg(long)]
    yes: bool,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Listing::Table)]
    output: Listing,
    #[command(flatten)]
    connection: Patient,
}

impl Discard {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let node = self.connection.connection.only_node()?;
        let client = self.connection.open().await?;
        let found = client
            .discard_doubtful(node, self.replica(), self.yes)
            .await?;
        match self.output {
            Listing::Json => print_json(&self.as_json(node, &found))?,
            Listing::Table => print_line(&self.in_words(node, &found))?,
        }
        Ok(())
    }

    /// `None`: the cluster's own state.
    fn replica(&self) -> Option<(&str, PartitionId)> {
        let partition = self.partition.map(PartitionId);
        self.topic.as_deref().zip(partition)
    }

    fn in_words(&self, node: &str, found: &Found) -> String {
        let replica = match self.replica() {
            Some((topic, partition)) => format!("partition {partition} of topic {topic:?}"),
            None => "the cluster's own state".to_owned(),
        };
        let role = found.role;
        if found.is_nothing() {
            return format!("nothing is doubtful in {replica} at {node} ({role})");
        }
        let list = list(found);
        if found.is_done {
            return format!("dropped from {replica} at {node} (now {role}):\n{list}");
        }
        format!(
            "doubtful in {replica} at {node} ({role}):\n{list}\n\
             Acknowledged records among this are lost for good when it is dropped. If no node that may have \
             them comes back, say so with --yes."
        )
    }

    fn as_json(&self, node: &str, found: &Found) -> Value {
        let entries = found
            .entries
            .map(|(first, last)| json!({ "first": first.get(), "last": last.get() }));
        json!({
            "node": node,
            "topic": self.topic,
            "partition": self.partition,
            "role": found.role.as_str(),
            "entries": entries,
            "unknown_suffix": found.unknown_suffix,
            "done": found.is_done,
        })
    }
}

fn list(found: &Found) -> String {
    let entries = found.entries.map(|(first, last)| {
        let count = last.get().saturating_sub(first.get()).saturating_add(1);
        format!(
            "  log entries {first} to {last} ({count}), not known to be committed, the first one damaged"
        )
    });
    let suffix = "  whatever was behind the end of the log, which is not known";
    let suffix = found.unknown_suffix.then(|| suffix.to_owned());
    let lines: Vec<String> = entries.into_iter().chain(suffix).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use trilith_client::{LogIndex, ReplicaRole};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        discard: Discard,
    }

    fn given(arguments: &str) -> Result<Discard, clap::Error> {
        let line = format!("discard {arguments}");
        Line::try_parse_from(line.split_whitespace()).map(|line| line.discard)
    }

    #[test]
    fn a_partition_or_the_controller_is_named_and_one_node() {
        for wrong in [
            "",
            "--topic t",
            "--partition 0",
            "--controller --topic t --partition 0",
            "--controller --partition 0",
        ] {
            assert!(given(wrong).is_err(), "{wrong}");
        }
        let named = given("--topic t --partition 2 --endpoints a:1").unwrap();
        assert_eq!(named.replica(), Some(("t", PartitionId(2))));
        assert_eq!(named.connection.connection.only_node().unwrap(), "a:1");
        let several = given("--controller --endpoints a:1,b:1").unwrap();
        assert_eq!(several.replica(), None);
        let said = several.connection.connection.only_node().unwrap_err();
        assert!(said.to_string().contains("a:1, b:1"), "{said}");
    }

    #[test]
    fn what_goes_is_listed_with_what_it_costs() {
        let discard = given("--topic t --partition 0").unwrap();
        let listed = Found {
            role: ReplicaRole::Repairing,
            entries: Some((LogIndex(22), LogIndex(24))),
            unknown_suffix: true,
            is_done: false,
        };
        let said = discard.in_words("a:1", &listed);
        for part in ["22 to 24 (3)", "behind the end", "lost for good", "--yes"] {
            assert!(said.contains(part), "{said}");
        }
        let dropped = Found {
            role: ReplicaRole::Leader,
            is_done: true,
            ..listed
        };
        let said = discard.in_words("a:1", &dropped);
        assert!(said.starts_with("dropped from partition 0") && said.contains("22 to 24"));
        let json = discard.as_json("a:1", &dropped);
        assert_eq!(
            (&json["entries"]["last"], &json["role"]),
            (&24.into(), &"leader".into())
        );
        let nothing = Found {
            entries: None,
            unknown_suffix: false,
            ..listed
        };
        assert!(
            discard
                .in_words("a:1", &nothing)
                .starts_with("nothing is doubtful")
        );
    }
}
