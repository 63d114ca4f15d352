//! `trilith cluster status`.

use serde_json::{Value, json};
use trilith_client::{NodeAnswer, NodeId, NodeReport};

use crate::{
    connection::Patient,
    failure::Failure,
    output::{Align, Listing, Table, print_json, print_line},
    values::{ByteSize, Span},
};

pub(super) async fn run(connection: &Patient, output: Listing) -> Result<(), Failure> {
    let client = connection.open().await?;
    let answers = client.cluster_status().await;
    match output {
        Listing::Json => print_json(&as_json(&answers))?,
        Listing::Table => print_line(&as_table(&answers))?,
    }
    if answers.iter().all(is_well) {
        Ok(())
    } else {
        // The table says what is wrong.
        Err(Failure::Reported)
    }
}

fn is_well((_, report): &NodeAnswer) -> bool {
    report
        .as_ref()
        .is_ok_and(|report| report.node.alarms.is_empty())
}

fn reports(answers: &[NodeAnswer]) -> impl Iterator<Item = &NodeReport> {
    answers
        .iter()
        .filter_map(|(_, report)| report.as_ref().ok())
}

/// The first that a node knows of.
fn cluster_id(answers: &[NodeAnswer]) -> Option<&str> {
    reports(answers).find_map(|report| report.cluster_id.as_deref())
}

fn controller(answers: &[NodeAnswer]) -> Option<NodeId> {
    reports(answers).find_map(|report| report.controller)
}

fn as_table(answers: &[NodeAnswer]) -> String {
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("ID", Align::Right),
        ("ADDRESS", Align::Left),
        ("PROCESS", Align::Right),
        ("STATE", Align::Left),
        ("LEADS", Align::Right),
        ("GROUPS", Align::Right),
        ("LAG", Align::Right),
        ("DISK FREE", Align::Right),
        ("DAMAGE", Align::Right),
        ("UP", Align::Right),
        ("VERSION", Align::Left),
    ]);
    let mut notes = String::new();
    for (address, report) in answers {
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                table.row(silent_row(address, answers));
                notes += &format!("\n{address}: {error}");
                continue;
            }
        };
        let node = &report.node;
        table.row(vec![
            node.node.name.clone(),
            node.node.id.map_or("-".into(), |id| id.to_string()),
            address.clone(),
            node.process_id.to_string(),
            state(report),
            node.leading.to_string(),
            node.groups.to_string(),
            node.lag_entries.to_string(),
            format!(
                "{} of {}",
                ByteSize(node.disk_available_bytes),
                ByteSize(node.disk_bytes)
            ),
            format!("{} ({} repaired)", node.damage_found, node.damage_repaired),
            Span(node.uptime).to_string(),
            node.version.clone(),
        ]);
        for alarm in &node.alarms {
            notes += &format!("\n{}: {alarm}", node.node.name);
        }
    }
    let head = match (cluster_id(answers), controller(answers)) {
        (None, _) => "no cluster yet: 'trilith cluster init' founds it".to_owned(),
        (Some(id), None) => format!("cluster {id}: no controller is elected"),
        (Some(id), Some(node)) => format!("cluster {id}, controller at node {node}"),
    };
    format!("{head}\n\n{table}{notes}")
}

/// A node that does not answer, by what the others say of it.
fn silent_row(address: &str, answers: &[NodeAnswer]) -> Vec<String> {
    let known = reports(answers)
        .flat_map(|report| &report.nodes)
        .find(|node| node.client_address == address);
    let name = known.map_or("-".into(), |node| node.name.clone());
    let id = known.and_then(|node| node.id);
    let id = id.map_or("-".into(), |id| id.to_string());
    let mut row = vec![name, id, address.to_owned(), "-".into(), "silent".into()];
    row.resize(12, "-".into());
    row
}

fn state(report: &NodeReport) -> String {
    let node = &report.node;
    if report.cluster_id.is_none() {
        "waits".to_owned()
    } else if report.controller.is_none() {
        "begins".to_owned()
    } else if !node.alarms.is_empty() {
        "alarm".to_owned()
    } else if node.leaderless > 0 {
        format!("{} leaderless", node.leaderless)
    } else {
        "good".to_owned()
    }
}

fn as_json(answers: &[NodeAnswer]) -> Value {
    json!({
        "cluster_id": cluster_id(answers),
        "controller": controller(answers).map(NodeId::get),
        "nodes": answers.iter().map(node_json).collect::<Vec<_>>(),
    })
}

fn node_json((address, report): &NodeAnswer) -> Value {
    let report = match report {
        Ok(report) => report,
        Err(error) => return json!({ "address": address, "error": error.to_string() }),
    };
    let node = &report.node;
    json!({
        "address": address,
        "id": node.node.id.map(NodeId::get),
        "name": node.node.name,
        "client_address": node.node.client_address,
        "peer_address": node.node.peer_address,
        "pid": node.process_id,
        "version": node.version,
        "feature_level": node.feature_level,
        "incarnation": node.incarnation,
        "uptime_ms": Span(node.uptime).millis(),
        "state": state(report),
        "groups": node.groups,
        "leading": node.leading,
        "leaderless": node.leaderless,
        "moving": node.moving,
        "voting": node.voting,
        "voteless": node.voteless,
        "lag_entries": node.lag_entries,
        "disk_bytes": node.disk_bytes,
        "disk_available_bytes": node.disk_available_bytes,
        "damage_found": node.damage_found,
        "damage_repaired": node.damage_repaired,
        "alarms": node.alarms,
        "silent": node.silent.iter().map(|id| id.get()).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use trilith_client::{ClusterNode, Error, NodeStatus};

    use super::*;

    fn answers() -> Vec<NodeAnswer> {
        let node = |id: u64| ClusterNode {
            id: Some(NodeId(id)),
            name: format!("n{id}"),
            client_address: format!("h:{id}"),
            peer_address: String::new(),
        };
        let report = NodeReport {
            cluster_id: Some("f00".into()),
            nodes: vec![node(1), node(2)],
            controller: Some(NodeId(1)),
            node: NodeStatus {
                node: node(1),
                alarms: vec!["the disk is full".into()],
                ..NodeStatus::default()
            },
        };
        let lost = Error::Interrupted { why: "gone".into() };
        vec![("h:1".into(), Ok(report)), ("h:2".into(), Err(lost))]
    }

    #[test]
    fn a_silent_node_and_an_alarm_are_told_with_their_names() {
        let answers = answers();
        assert!(!answers.iter().any(is_well));
        let table = as_table(&answers);
        for part in [
            "cluster f00, controller at node 1",
            "n2",
            "silent",
            "n1: the disk is full",
        ] {
            assert!(table.contains(part), "{table}");
        }
        let json = as_json(&answers);
        assert_eq!(json["nodes"][0]["alarms"][0], "the disk is full");
        assert!(json["nodes"][1]["error"].as_str().unwrap().contains("gone"));
    }
}
