//! `trilith topic`.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use trilith_client::{
    Client, Error, NodeId, PartitionDescription, TopicDescription, TopicSettings,
};

use crate::{
    connection::{Patient, block_on},
    failure::Failure,
    output::{Align, Listing, Table, print_json, print_line},
    values::{ByteSize, Span},
};

/// Create, list, describe, change and delete topics
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trilith topic create orders --partitions 4 --retention-age 7d
  trilith topic list
  trilith topic describe orders --output json")]
pub(crate) struct Topic {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a topic
    #[command(after_help = "\
Examples:
  trilith topic create orders
  trilith topic create orders --partitions 4 --retention-bytes 10GiB --retention-age 7d
  trilith topic create images --record-bytes-max 16MiB

Without flags a topic has 1 partition kept by 3 nodes (1 in a cluster of one), keeps everything, begins a new segment at 64MiB or after 7d,
and takes records of up to 1MiB.
Names are made of a-z, A-Z, 0-9, '.', '_' and '-'.")]
    Create(Change),
    /// Show all topics
    #[command(after_help = "Example:\n  trilith topic list --output json")]
    List {
        /// How to print
        #[arg(long, short, value_enum, default_value_t = Listing::Table)]
        output: Listing,
        #[command(flatten)]
        connection: Patient,
    },
    /// Show a topic's settings and the state of its partitions
    #[command(after_help = "Example:\n  trilith topic describe orders")]
    Describe {
        /// The topic
        name: String,
        /// How to print
        #[arg(long, short, value_enum, default_value_t = Listing::Table)]
        output: Listing,
        #[command(flatten)]
        connection: Patient,
    },
    /// Change some of a topic's settings
    #[command(after_help = "\
Examples:
  trilith topic alter orders --retention-age 30d
  trilith topic alter orders --partitions 8        partitions can only be added
  trilith topic alter orders --retention-bytes 0   keep everything

What is not given stays as it is. With more partitions a key may belong to another one than before.")]
    Alter(Change),
    /// Delete a topic and every record in it
    #[command(after_help = "Example:\n  trilith topic delete orders")]
    Delete {
        /// The topic
        name: String,
        #[command(flatten)]
        connection: Patient,
    },
}

/// A topic and the settings to give it.
#[derive(Debug, Args)]
struct Change {
    /// The topic
    name: String,
    /// How many partitions
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// Remove the oldest segments while a partition is larger; 0 keeps all
    #[arg(long, value_name = "SIZE")]
    retention_bytes: Option<ByteSize>,
    /// Remove segments when their newest record is older; 0 keeps all
    #[arg(long, value_name = "TIME")]
    retention_age: Option<Span>,
    /// Begin a new segment when one has this size
    #[arg(long, value_name = "SIZE")]
    segment_bytes: Option<ByteSize>,
    /// Begin a new segment when the first record of one is older
    #[arg(long, value_name = "TIME")]
    segment_age: Option<Span>,
    /// Largest record, key and headers included; at most 16MiB
    #[arg(long, value_name = "SIZE")]
    record_bytes_max: Option<ByteSize>,
    /// How many nodes keep each partition; fixed when the topic is made
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// How to print the result
    #[arg(long, short, value_enum, default_value_t = Listing::Table)]
    output: Listing,
    #[command(flatten)]
    connection: Patient,
}

impl Topic {
    pub(crate) fn run(self) -> Result<(), Failure> {
        block_on(self.action.run())
    }
}

impl Action {
    async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(change) => {
                let client = change.connection.open().await?;
                let made = client.create_topic(&change.name, change.settings()?).await;
                let topic = made.map_err(in_flags)?;
                change.print(&topic)
            }
            Self::Alter(change) => {
                let settings = change.settings()?;
                if settings == TopicSettings::default() {
                    return Err(Failure::Usage(
                        "nothing to change: give at least one setting, such as --retention-age 7d"
                            .into(),
                    ));
                }
                let client = change.connection.open().await?;
                let altered = client.alter_topic(&change.name, settings).await;
                let topic = altered.map_err(in_flags)?;
                change.print(&topic)
            }
            Self::List { output, connection } => list(&connection.open().await?, output).await,
            Self::Describe {
                name,
                output,
                connection,
            } => {
                let description = connection.open().await?.describe_topic(&name).await?;
                describe(&description, output)
            }
            Self::Delete { name, connection } => {
                connection.open().await?.delete_topic(&name).await?;
                Ok(print_line(&format!("topic {name} is deleted"))?)
            }
        }
    }
}

impl Change {
    fn settings(&self) -> Result<TopicSettings, Failure> {
        let record_bytes_max = self
            .record_bytes_max
            .map(|size| u32::try_from(size.0))
            .transpose();
        let record_bytes_max = record_bytes_max.map_err(|_| {
            Failure::Usage("--record-bytes-max is too large; the most is 16MiB".into())
        })?;
        Ok(TopicSettings {
            partitions: self.partitions,
            retention_bytes: self.retention_bytes.map(|size| size.0),
            retention_age: self.retention_age.map(|span| span.0),
            segment_bytes: self.segment_bytes.map(|size| size.0),
            segment_age: self.segment_age.map(|span| span.0),
            record_bytes_max,
            replicas: self.replicas,
        })
    }

    fn print(&self, topic: &trilith_client::Topic) -> Result<(), Failure> {
        match self.output {
            Listing::Json => print_json(&topic_json(topic))?,
            Listing::Table => {
                let settings = sentence(&topic.settings);
                print_line(&format!("topic {}: {settings}", topic.name))?;
            }
        }
        Ok(())
    }
}

/// A refused setting by the flag it was given with, in the units that flag takes.
fn in_flags(error: Error) -> Failure {
    match &error {
        Error::Server(refusal) => out_of_bounds(&refusal.metadata),
        _ => None,
    }
    .map_or_else(|| error.into(), Failure::Failed)
}

fn out_of_bounds(metadata: &BTreeMap<String, String>) -> Option<String> {
    let setting = metadata.get("setting")?.as_str();
    let number = |name| metadata.get(name)?.parse::<u64>().ok();
    let (value, min, max) = (number("value")?, number("min")?, number("max")?);
    let plain: fn(u64) -> String = |n| n.to_string();
    let bytes: fn(u64) -> String = |n| ByteSize(n).exact();
    let millis: fn(u64) -> String = |n| Span(Duration::from_millis(n)).to_string();
    let (flag, show) = match setting {
        "partitions" => ("--partitions", plain),
        "replicas" => ("--replicas", plain),
        "retention_bytes" => ("--retention-bytes", bytes),
        "retention_ms" => ("--retention-age", millis),
        "segment_bytes" => ("--segment-bytes", bytes),
        "segment_ms" => ("--segment-age", millis),
        "record_bytes_max" => ("--record-bytes-max", bytes),
        _ => return None,
    };
    let (value, min, max) = (show(value), show(min), show(max));
    Some(format!(
        "{flag} is {value}, but must lie between {min} and {max}"
    ))
}

async fn list(client: &Client, output: Listing) -> Result<(), Failure> {
    let topics = client.list_topics().await?;
    if output == Listing::Json {
        return Ok(print_json(
            &topics.iter().map(topic_json).collect::<Vec<_>>(),
        )?);
    }
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("PARTITIONS", Align::Right),
        ("REPLICAS", Align::Right),
        ("KEEP BYTES", Align::Right),
        ("KEEP AGE", Align::Right),
        ("SEGMENT", Align::Right),
        ("LARGEST RECORD", Align::Right),
    ]);
    for topic in &topics {
        let settings = &topic.settings;
        table.row(vec![
            topic.name.clone(),
            settings.partitions.unwrap_or_default().to_string(),
            settings.replicas.unwrap_or(1).to_string(),
            kept_bytes(settings.retention_bytes),
            kept_age(settings.retention_age),
            ByteSize(settings.segment_bytes.unwrap_or_default()).to_string(),
            ByteSize(settings.record_bytes_max.unwrap_or_default().into()).to_string(),
        ]);
    }
    Ok(print_line(&table.to_string())?)
}

fn describe(description: &TopicDescription, output: Listing) -> Result<(), Failure> {
    let TopicDescription { topic, partitions } = description;
    if output == Listing::Json {
        let mut json = topic_json(topic);
        if let Value::Object(fields) = &mut json {
            let partitions = partitions.iter().map(partition_json).collect();
            fields.insert("partitions".into(), Value::Array(partitions));
        }
        return Ok(print_json(&json)?);
    }
    let mut table = Table::new(&[
        ("PARTITION", Align::Right),
        ("LEADER", Align::Right),
        ("REPLICAS", Align::Left),
        ("START", Align::Right),
        ("END", Align::Right),
        ("BYTES", Align::Right),
        ("SEGMENTS", Align::Right),
        ("DAMAGED RANGES", Align::Right),
        ("STATE", Align::Left),
    ]);
    let mut notes = String::new();
    for part in partitions {
        if let Some(why) = &part.unavailable {
            notes += &format!("\npartition {}: {why}", part.partition);
        }
        table.row(vec![
            part.partition.to_string(),
            part.leader.map_or("none".into(), |node| node.to_string()),
            nodes(&part.replicas),
            part.start.to_string(),
            part.end.to_string(),
            ByteSize(part.bytes).to_string(),
            part.segments.to_string(),
            part.damaged_ranges.to_string(),
            state(part).to_owned(),
        ]);
    }
    let head = format!(
        "topic {} (id {}): {}",
        topic.name,
        topic.id,
        sentence(&topic.settings)
    );
    Ok(print_line(&format!("{head}\n\n{table}{notes}"))?)
}

/// A partition in a word, as the node that was asked sees it.
fn state(part: &PartitionDescription) -> &'static str {
    if part.unavailable.is_some() {
        "out of service"
    } else if part.leader.is_none() {
        "no leader"
    } else if part.damaged_ranges > 0 {
        "damaged"
    } else {
        "good"
    }
}

fn nodes(nodes: &[NodeId]) -> String {
    let numbers: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    numbers.join(",")
}

/// The settings in words.
fn sentence(settings: &TopicSettings) -> String {
    let partitions = match settings.partitions.unwrap_or_default() {
        1 => "1 partition".to_owned(),
        n => format!("{n} partitions"),
    };
    let keeps = match (
        kept_bytes(settings.retention_bytes),
        kept_age(settings.retention_age),
    ) {
        (bytes, age) if bytes == "all" && age == "all" => "keeps everything".to_owned(),
        (bytes, age) if age == "all" => format!("keeps {bytes} a partition"),
        (bytes, age) if bytes == "all" => format!("keeps {age}"),
        (bytes, age) => format!("keeps {bytes} a partition and {age}"),
    };
    format!(
        "{partitions}, {keeps}, segments of {} or {}, records of up to {}",
        ByteSize(settings.segment_bytes.unwrap_or_default()),
        Span(settings.segment_age.unwrap_or_default()),
        ByteSize(settings.record_bytes_max.unwrap_or_default().into()),
    )
}

fn kept_bytes(bytes: Option<u64>) -> String {
    match bytes.unwrap_or_default() {
        0 => "all".into(),
        bytes => ByteSize(bytes).to_string(),
    }
}

fn kept_age(age: Option<Duration>) -> String {
    match age.unwrap_or_default() {
        Duration::ZERO => "all".into(),
        age => Span(age).to_string(),
    }
}

fn topic_json(topic: &trilith_client::Topic) -> Value {
    let settings = &topic.settings;
    let millis = |age: Option<Duration>| age.map(|age| Span(age).millis());
    json!({
        "name": topic.name,
        "id": topic.id.get(),
        "settings": {
            "partitions": settings.partitions,
            "retention_bytes": settings.retention_bytes,
            "retention_ms": millis(settings.retention_age),
            "segment_bytes": settings.segment_bytes,
            "segment_ms": millis(settings.segment_age),
            "record_bytes_max": settings.record_bytes_max,
            "replicas": settings.replicas,
        },
    })
}

fn partition_json(part: &PartitionDescription) -> Value {
    json!({
        "partition": part.partition.get(),
        "start_offset": part.start.get(),
        "end_offset": part.end.get(),
        "bytes": part.bytes,
        "segments": part.segments,
        "damaged_ranges": part.damaged_ranges,
        "leader": part.leader.map(NodeId::get),
        "state": state(part),
        "unavailable": part.unavailable,
        "replicas": part.replicas.iter().map(|node| node.get()).collect::<Vec<_>>(),
    })
}
