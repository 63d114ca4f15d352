//! `trilith cluster init`.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep};
use trilith_client::{Client, ClusterNode, NodeAnswer, NodeReport};

use crate::{connection::Patient, failure::Failure, output::print_line};

/// Between two looks whether all nodes know of their cluster.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) async fn run(connection: &Patient, only_these: bool) -> Result<(), Failure> {
    let client = connection.open().await?;
    let answers = client.cluster_status().await;
    if !only_these {
        refuse_too_few(&answers)?;
    }
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

/// Which nodes a cluster begins with is decided once, and a node that was left out does not join later.
fn refuse_too_few(answers: &[NodeAnswer]) -> Result<(), Failure> {
    let count = answers.len();
    let reports = answers
        .iter()
        .filter_map(|(_, report)| report.as_ref().ok());
    // Nodes may be known by other names than they give, so they are counted.
    let most = reports.max_by_key(|report| report.node.seeds.len());
    if let Some(report) = most.filter(|report| report.node.seeds.len() > count) {
        return Err(Failure::Failed(format!(
            "node {:?} was started to find {} nodes ({}), and --endpoints names {count}: name all that the \
             cluster is to begin with, since others cannot join it later; or found it without the rest \
             with --only-these",
            report.node.node.name,
            report.node.seeds.len(),
            report.node.seeds.join(", "),
        )));
    }
    if count > 1 && count.is_multiple_of(2) {
        return Err(Failure::Failed(format!(
            "a cluster of {count} nodes bears the loss of {}, as one of {} does: name an odd number of nodes, \
             3 or 5, or found it all the same with --only-these",
            (count - 1) / 2,
            count - 1
        )));
    }
    Ok(())
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

    /// Two of three nodes made a cluster that the third could never join, without a word.
    #[test]
    fn a_cluster_is_not_founded_by_fewer_nodes_than_were_meant_unless_that_is_said() {
        let node = |name: &str, seeds: &[&str]| {
            let mut answer = answer(name, &format!("{name}:1"), None);
            if let Ok(report) = &mut answer.1 {
                report.node.seeds = seeds.iter().map(|&seed| seed.into()).collect();
            }
            answer
        };
        let all = ["a:1", "b:1", "c:1"];
        let others = ["b:1", "c:1"];
        for (nodes, part) in [
            (vec![node("a", &all), node("b", &all)], "a:1, b:1, c:1"),
            (
                vec![node("a", &others), node("b", &[])],
                "bears the loss of 0",
            ),
            (vec![node("a", &others)], "find 2 nodes"),
        ] {
            let said = refuse_too_few(&nodes).unwrap_err().to_string();
            assert!(
                said.contains(part) && said.contains("--only-these"),
                "{said}"
            );
        }
        let three = [node("a", &all), node("b", &all), node("c", &all)];
        assert!(refuse_too_few(&three).is_ok());
        assert!(refuse_too_few(&[node("a", &["a:1"])]).is_ok());
        assert!(refuse_too_few(&[node("a", &[])]).is_ok());
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
