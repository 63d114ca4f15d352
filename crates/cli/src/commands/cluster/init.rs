//! `trilith cluster init`.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep};
use trilith_client::{Client, ClusterNode, NodeAnswer, NodeReport};

use crate::{connection::Patient, failure::Failure, output::print_line};

/// Between two looks whether all nodes know of their cluster.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) async fn run(connection: &Patient) -> Result<(), Failure> {
    let client = connection.open().await?;
    let answers = client.cluster_status().await;
    let id = found(&client, &answers).await?;
    let deadline = Instant::now() + connection.timeout.0;
    loop {
        let answers = client.cluster_status().await;
        let lacking = answers.iter().filter(|(_, report)| !is_in(report, &id));
        let lacking: Vec<&str> = lacking.map(|(address, _)| address.as_str()).collect();
        if lacking.is_empty() {
            return Ok(print_line(&format!(
                "cluster {id} of {} nodes",
                answers.len()
            ))?);
        }
        if Instant::now() >= deadline {
            return Err(Failure::Failed(format!(
                "cluster {id} is founded, but {} did not join within {}; it does as soon as it \
                 can reach the others",
                lacking.join(", "),
                connection.timeout
            )));
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn is_in(report: &Result<NodeReport, trilith_client::Error>, id: &str) -> bool {
    report
        .as_ref()
        .is_ok_and(|report| report.cluster_id.as_deref() == Some(id) && report.controller.is_some())
}

/// Has the first of these nodes found a cluster of all of them. The cluster's id.
pub(crate) async fn found(client: &Client, answers: &[NodeAnswer]) -> Result<String, Failure> {
    let nodes = founders(answers)?;
    let Some((first, _)) = answers.first() else {
        return Err(Failure::Usage("--endpoints names no node".into()));
    };
    Ok(client.init_cluster(first, &nodes).await?)
}

/// The nodes by name and address, when they can found a cluster.
fn founders(answers: &[NodeAnswer]) -> Result<Vec<ClusterNode>, Failure> {
    let mut nodes = Vec::new();
    let mut names = BTreeSet::new();
    for (address, report) in answers {
        let report = report
            .as_ref()
            .map_err(|error| Failure::because(format!("{address} must answer"), error))?;
        if let Some(id) = &report.cluster_id {
            return Err(Failure::Failed(format!(
                "{address} is in the cluster {id} already; a new cluster needs empty data \
                 directories"
            )));
        }
        let node = &report.node.node;
        if answers.len() > 1 && node.peer_address.is_empty() {
            return Err(Failure::Failed(format!(
                "{address} has no address for other nodes: start it with --peer-listen"
            )));
        }
        if !names.insert(node.name.clone()) {
            return Err(Failure::Failed(format!(
                "two nodes have the name {:?}: start each with a --name of its own",
                node.name
            )));
        }
        nodes.push(node.clone());
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use trilith_client::{Error, NodeStatus};

    use super::*;

    fn answer(name: &str, peer: &str, cluster: Option<&str>) -> NodeAnswer {
        let node = NodeStatus {
            node: ClusterNode {
                name: name.into(),
                peer_address: peer.into(),
                ..ClusterNode::default()
            },
            ..NodeStatus::default()
        };
        let report = NodeReport {
            cluster_id: cluster.map(str::to_owned),
            nodes: Vec::new(),
            controller: None,
            node,
        };
        (format!("{name}:7400"), Ok(report))
    }

    #[test]
    fn founders_answer_are_free_and_have_names_and_addresses_of_their_own() {
        let good = [answer("a", "a:1", None), answer("b", "b:1", None)];
        assert_eq!(founders(&good).unwrap().len(), 2);
        let alone = [answer("a", "", None)];
        assert_eq!(
            founders(&alone).unwrap().len(),
            1,
            "one node needs no address for others"
        );
        let why = "gone".to_owned();
        let silent = ("c:7400".to_owned(), Err(Error::Interrupted { why }));
        for (wrong, part) in [
            (answer("a", "c:1", None), "the name \"a\""),
            (answer("c", "", None), "--peer-listen"),
            (answer("c", "c:1", Some("f00")), "in the cluster f00"),
            (silent, "must answer"),
        ] {
            let [a, b] = good.clone();
            let said = founders(&[a, b, wrong]).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        }
    }
}
