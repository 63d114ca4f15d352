//! Which nodes there are, and where.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// Nodes of a cluster that is made without saying how many.
const NODES_DEFAULT: u16 = 3;
/// Between the ports of two nodes.
const PORT_STEP: u16 = 10;

/// All nodes of a cluster on this machine.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) data: PathBuf,
    pub(super) nodes: Vec<NodePlan>,
}

/// One node.
#[derive(Clone, Debug)]
pub(super) struct NodePlan {
    pub(super) name: String,
    pub(super) client: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) data: PathBuf,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
}

impl Plan {
    /// Makes the directories and the config files. How many nodes there are is decided once.
    pub(super) fn make(data: &Path, nodes: Option<u16>, base_port: u16) -> Result<Self, Failure> {
        let there = (1..=9).take_while(|n| config_of(data, *n).exists()).count() as u16;
        let count = match (nodes, there) {
            (None, 0) => NODES_DEFAULT,
            (None, there) => there,
            (Some(wanted), there) if there == 0 || wanted == there => wanted,
            (Some(wanted), there) => {
                return Err(Failure::Usage(format!(
                    "{} holds a cluster of {there} nodes, not {wanted}: leave --nodes out, or take \
                     another --data",
                    data.display()
                )));
            }
        };
        let last = u32::from(base_port) + u32::from(PORT_STEP) * u32::from(count - 1) + 1;
        if base_port == 0 || last > u32::from(u16::MAX) {
            return Err(Failure::Usage(format!(
                "--base-port {base_port} leaves no ports for {count} nodes"
            )));
        }
        let plan = Self {
            data: data.to_owned(),
            nodes: (1..=count).map(|n| node(data, n, base_port)).collect(),
        };
        plan.write().map_err(|error| {
            Failure::because(format!("cannot prepare {}", data.display()), error)
        })?;
        Ok(plan)
    }

    fn write(&self) -> std::io::Result<()> {
        fs::create_dir_all(&self.data)?;
        for node in &self.nodes {
            fs::write(&node.config, self.config(node))?;
        }
        Ok(())
    }

    fn config(&self, node: &NodePlan) -> String {
        let NodePlan {
            name, client, peer, ..
        } = node;
        let mut text = format!(
            "# Written by 'trilith up' at each start.\n\
             name = \"{name}\"\ndata = {data}\nlisten = \"{client}\"\n",
            data = toml::Value::from(node.data.to_string_lossy().into_owned()),
        );
        if self.nodes.len() > 1 {
            let seeds: Vec<String> = self
                .nodes
                .iter()
                .map(|n| format!("\"{}\"", n.peer))
                .collect();
            text += &format!("peer_listen = \"{peer}\"\nseeds = [{}]\n", seeds.join(", "));
        }
        text
    }

    /// Where clients find the cluster.
    pub(super) fn endpoints(&self) -> Vec<String> {
        let addresses = self.nodes.iter().map(|node| node.client.to_string());
        addresses.collect()
    }
}

fn node(data: &Path, number: u16, base_port: u16) -> NodePlan {
    let name = format!("n{number}");
    let port = base_port + PORT_STEP * (number - 1);
    NodePlan {
        client: (Ipv4Addr::LOCALHOST, port).into(),
        peer: (Ipv4Addr::LOCALHOST, port + 1).into(),
        data: data.join(&name),
        config: config_of(data, number),
        log: data.join(format!("{name}.log")),
        name,
    }
}

fn config_of(data: &Path, number: u16) -> PathBuf {
    data.join(format!("n{number}.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_their_ports_and_files() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::make(dir.path(), None, 7400).unwrap();
        assert_eq!(plan.nodes.len(), 3);
        let last = plan.nodes.last().unwrap();
        assert_eq!((last.client.port(), last.peer.port()), (7420, 7421));
        let text = fs::read_to_string(&last.config).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["name"].as_str(), Some("n3"));
        assert_eq!(table["seeds"].as_array().unwrap().len(), 3);
        assert_eq!(table["data"].as_str(), last.data.to_str());
        assert_eq!(
            plan.endpoints(),
            ["127.0.0.1:7400", "127.0.0.1:7410", "127.0.0.1:7420"]
        );
    }

    #[test]
    fn how_many_there_are_is_decided_once() {
        let dir = tempfile::tempdir().unwrap();
        Plan::make(dir.path(), Some(5), 7400).unwrap();
        assert_eq!(Plan::make(dir.path(), None, 7400).unwrap().nodes.len(), 5);
        let said = Plan::make(dir.path(), Some(3), 7400)
            .unwrap_err()
            .to_string();
        assert!(said.contains("5 nodes, not 3"), "{said}");
    }

    #[test]
    fn one_node_has_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::make(dir.path(), Some(1), 7400).unwrap();
        let text = fs::read_to_string(&plan.nodes[0].config).unwrap();
        assert!(!text.contains("seeds"), "{text}");
    }

    #[test]
    fn ports_must_be_left() {
        let dir = tempfile::tempdir().unwrap();
        for port in [0, u16::MAX - 10] {
            assert!(matches!(
                Plan::make(dir.path(), None, port),
                Err(Failure::Usage(_))
            ));
        }
    }
}
