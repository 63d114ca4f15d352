//! How a cluster begins.
//!
//! A cluster is founded once: every founder is told the same list of founders and the same cluster
//! id, writes both into its identity file, and starts its replica of the controller group with the
//! founders as the group's first configuration. Nothing more has to be agreed on: the replicas
//! elect a leader as they do ever after. A node that was told nothing waits, and never founds.

use trilith_peer::{FOUNDERS_MAX, Found, Founder};
use trilith_types::{ClusterId, NodeId};

use super::Addresses;

/// A node by name and address, as configured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where the other nodes reach it.
    pub peer_address: String,
}

/// What a node without a cluster does at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// It founds a cluster of its own.
    #[default]
    Alone,
    /// It is one of these, and each of them has the same list.
    With(Vec<Member>),
    /// It waits to be told.
    Wait,
}

/// Why a cluster was not founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The list is empty.
    #[error("a cluster begins with at least one node")]
    Empty,
    /// The list has a name or address twice.
    #[error("{what} {value:?} stands twice in the list of nodes")]
    Twice {
        /// A name or an address.
        what: &'static str,
        /// Which.
        value: String,
    },
    /// The list has more nodes than a group can have voters.
    #[error("a cluster begins with at most {FOUNDERS_MAX} nodes; the list has {count}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// Node numbers are 1, 2, and so on.
    #[error("the nodes are not numbered from 1 in the order of their names")]
    Numbers,
    /// This node is not in the list.
    #[error("the list of nodes does not have this one, {name:?}: {names}")]
    NotInList {
        /// This node's name.
        name: String,
        /// The names in the list.
        names: String,
    },
    /// This node belongs to a cluster.
    #[error(
        "this node, {name:?}, belongs to cluster {has:032x} already, and cannot join {asked:032x}; \
         to give it up with all its data, stop it and empty its data directory",
        has = has.0,
        asked = asked.0
    )]
    Founded {
        /// This node's name.
        name: String,
        /// Its cluster.
        has: ClusterId,
        /// The other one.
        asked: ClusterId,
    },
    /// The identity could not be written.
    #[error(transparent)]
    Identity(#[from] super::IdentityError),
    /// The node could not be started as a member.
    #[error(transparent)]
    Open(#[from] Box<super::OpenError>),
}

/// The founding that follows from a list alone, in whatever order it is given: every node that has
/// the same list gets the same.
///
/// # Errors
/// The list is empty, too long, or names something twice.
pub fn found_of_list(members: &[Member]) -> Result<Found, FoundError> {
    let mut sorted = members.to_vec();
    sorted.sort();
    let mut text = String::from("trilith cluster\n");
    for member in &sorted {
        text.extend([&member.name, "\n", &member.peer_address, "\n"]);
    }
    // Zero stands for "none".
    let cluster = ClusterId(fnv_1a(text.as_bytes()).max(1));
    let members = sorted.into_iter().zip(1..).map(|(member, node)| Founder {
        node: NodeId(node),
        name: member.name,
        peer_address: member.peer_address,
        client_address: String::new(),
    });
    let found = Found {
        cluster,
        members: members.collect(),
        joins: false,
    };
    check(&found)?;
    Ok(found)
}

/// The founding of a cluster of one node.
pub(crate) fn found_alone(random: [u64; 2], name: &str, addresses: &Addresses) -> Found {
    let [high, low] = random.map(u128::from);
    let founder = Founder {
        node: NodeId(1),
        name: name.to_owned(),
        peer_address: addresses.peer.clone(),
        client_address: addresses.client.clone(),
    };
    Found {
        cluster: ClusterId((high << 64 | low).max(1)),
        members: vec![founder],
        joins: false,
    }
}

/// Whether the list can be one.
///
/// # Errors
/// It is empty, too long, names something twice, or, of founders, is not numbered in the order of
/// their names.
pub fn check(found: &Found) -> Result<(), FoundError> {
    let members = &found.members;
    if members.is_empty() || found.cluster.0 == 0 {
        return Err(FoundError::Empty);
    }
    if members.len() > FOUNDERS_MAX {
        let count = members.len();
        return Err(FoundError::TooMany { count });
    }
    refuse_twice("the name", members.iter().map(|node| &node.name))?;
    refuse_twice("the address", members.iter().map(|node| &node.peer_address))?;
    if found.joins {
        // The cluster numbers those that join it.
        return Ok(());
    }
    let is_in_order = members.is_sorted_by(|a, b| a.name < b.name)
        && members
            .iter()
            .zip(1..)
            .all(|(node, number)| node.node == NodeId(number));
    if is_in_order {
        Ok(())
    } else {
        Err(FoundError::Numbers)
    }
}

/// The number of the node of this name.
///
/// # Errors
/// The list does not have it.
pub(crate) fn number_of(found: &Found, name: &str) -> Result<NodeId, FoundError> {
    let founder = found.members.iter().find(|node| node.name == name);
    founder.map(|node| node.node).ok_or_else(|| {
        let names: Vec<&str> = found
            .members
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        FoundError::NotInList {
            name: name.to_owned(),
            names: names.join(", "),
        }
    })
}

fn refuse_twice<'a>(
    what: &'static str,
    values: impl Iterator<Item = &'a String>,
) -> Result<(), FoundError> {
    let mut values: Vec<&String> = values.collect();
    values.sort();
    let twice = values.windows(2).find(|pair| pair.first() == pair.last());
    match twice.and_then(|pair| pair.first()) {
        Some(value) => Err(FoundError::Twice {
            what,
            value: (*value).clone(),
        }),
        None => Ok(()),
    }
}

/// FNV-1a with 128 bits (Fowler, Noll, Vo; RFC 9923): the same for the same list everywhere and
/// for ever; nobody is to be kept from finding two lists of one hash.
fn fnv_1a(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let step = |hash: u128, byte: &u8| (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
    bytes.iter().fold(BASIS, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> Vec<Member> {
        let member = |name: &&str| Member {
            name: (*name).to_owned(),
            peer_address: format!("{name}:7401"),
        };
        names.iter().map(member).collect()
    }

    #[test]
    fn one_list_is_one_founding_in_any_order() {
        let founding = found_of_list(&members(&["b", "c", "a"])).unwrap();
        assert_eq!(founding, found_of_list(&members(&["a", "b", "c"])).unwrap());
        assert_eq!(number_of(&founding, "b").unwrap(), NodeId(2));
        let other = found_of_list(&members(&["a", "b", "d"])).unwrap();
        assert_ne!(founding.cluster, other.cluster);
        assert!(matches!(
            number_of(&founding, "d"),
            Err(FoundError::NotInList { .. })
        ));
    }

    #[test]
    fn the_id_of_a_list_stays_what_it_was() {
        assert_eq!(fnv_1a(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        let founding = found_of_list(&members(&["a"])).unwrap();
        assert_eq!(founding.cluster.0, fnv_1a(b"trilith cluster\na\na:7401\n"));
    }

    #[test]
    fn lists_that_can_be_none_are_refused() {
        assert!(matches!(found_of_list(&[]), Err(FoundError::Empty)));
        let twice = found_of_list(&members(&["a", "b", "a"]));
        assert!(matches!(
            twice,
            Err(FoundError::Twice {
                what: "the name",
                ..
            })
        ));
        let mut same_address = members(&["a", "b"]);
        same_address[1].peer_address = "a:7401".to_owned();
        let twice = found_of_list(&same_address);
        assert!(matches!(
            twice,
            Err(FoundError::Twice {
                what: "the address",
                ..
            })
        ));
        let many: Vec<String> = (0..99).map(|n| format!("n{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(matches!(
            found_of_list(&members(&many)),
            Err(FoundError::TooMany { .. })
        ));
        let mut founding = found_of_list(&members(&["a", "b"])).unwrap();
        founding.members.reverse();
        assert!(matches!(check(&founding), Err(FoundError::Numbers)));
    }
}
