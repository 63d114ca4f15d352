//! A group's members.

use trilith_raft::{Configuration, LEARNERS_MAX, Quorum, VOTERS_MAX};
use trilith_types::NodeId;

use super::wire::{CodecError, Malformed, Reader, Writer};

pub(super) fn write(writer: &mut Writer, configuration: &Configuration) {
    let lists: [&[NodeId]; 4] = [
        configuration.voters.incoming(),
        configuration.voters.outgoing(),
        &configuration.learners,
        &configuration.learners_next,
    ];
    for nodes in lists {
        writer.u32(nodes.len() as u32);
        for node in nodes {
            writer.u64(node.0);
        }
    }
    writer.u8(configuration.auto_leave.into());
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Configuration, CodecError> {
    let incoming = nodes(reader, "voters", VOTERS_MAX)?;
    let outgoing = nodes(reader, "outgoing voters", VOTERS_MAX)?;
    let learners = nodes(reader, "learners", LEARNERS_MAX)?;
    let learners_next = nodes(reader, "next learners", LEARNERS_MAX)?;
    let auto_leave = reader.flag("auto-leave flag")?;
    Ok(Configuration {
        voters: Quorum::joint(incoming, outgoing),
        learners,
        learners_next,
        auto_leave,
    })
}

/// A list that ascends: one configuration has one form, and its owner searches it.
fn nodes(
    reader: &mut Reader<'_>,
    what: &'static str,
    max: usize,
) -> Result<Vec<NodeId>, CodecError> {
    let count = reader.count(what, max, 8)?;
    let mut nodes = Vec::with_capacity(count);
    for _ in 0..count {
        let node = reader.node(what)?;
        if nodes.last().is_some_and(|&last| last >= node) {
            let wrong = Malformed::Contradiction("the members of a configuration must ascend");
            return Err(reader.error(wrong));
        }
        nodes.push(node);
    }
    Ok(nodes)
}
