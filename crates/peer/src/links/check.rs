//! Whether two nodes belong together.

use trilith_types::{Incarnation, NodeId};

use crate::{
    handshake::{Agreed, Features, Hello, Introduction, Reason, Refusal, Versions},
    registry::{Identity, Membership, Registry},
};

/// This node, as far as a check needs it.
pub(super) struct Me<'a> {
    pub(super) identity: &'a Identity,
    pub(super) member: Membership,
    pub(super) versions: Versions,
}

/// Whether the node that said `them` is welcome, and how to go on with it. `met` is the highest
/// incarnation in which it was met.
pub(super) fn introduction(
    me: &Me<'_>,
    them: &Introduction,
    member: Membership,
    met: Incarnation,
    registry: &dyn Registry,
) -> Result<Agreed, Refusal> {
    let name = &me.identity.name;
    if member.cluster != me.member.cluster {
        return Err(Refusal::new(
            Reason::ForeignCluster,
            format!(
                "{:?} belongs to cluster {:032x}, and {name:?} to cluster {:032x}: check the \
                 addresses of the nodes in both configurations",
                them.name, member.cluster.0, me.member.cluster.0
            ),
        ));
    }
    if member.node == me.member.node {
        return Err(Refusal::new(
            Reason::SameNode,
            format!(
                "{:?} and {name:?} are both node {}: one runs on a copy of the other's directory, \
                 or a node was told its own address as another's",
                them.name, member.node
            ),
        ));
    }
    let Some(version) = me.versions.common(them.versions) else {
        let (ours, theirs) = (me.versions, them.versions);
        return Err(Refusal::new(
            Reason::NoCommonVersion,
            format!(
                "{name:?} speaks versions {} to {}, and {:?} {} to {}: upgrade the older one, one \
                 release at a time",
                ours.min, ours.max, them.name, theirs.min, theirs.max
            ),
        ));
    };
    if them.incarnation < met {
        return Err(stale(member.node, &them.name, them.incarnation, met));
    }
    registry
        .admit(member.node, &them.name, them.incarnation)
        .map_err(|message| Refusal::new(Reason::NotAdmitted, message))?;
    Ok(Agreed {
        version,
        features: Features::OURS.common(them.features),
    })
}

/// Whether who dialled meant this node, and this life of it.
pub(super) fn addressee(me: &Me<'_>, hello: &Hello) -> Result<(), Refusal> {
    if let Some(wanted) = hello.to
        && wanted != me.member.node
    {
        return Err(Refusal::new(
            Reason::WrongNode,
            format!(
                "this is node {} ({:?}), not node {wanted}: was an address given to another node?",
                me.member.node, me.identity.name
            ),
        ));
    }
    let mine = me.identity.incarnation;
    if hello.met > mine {
        return Err(stale(me.member.node, &me.identity.name, mine, hello.met));
    }
    Ok(())
}

/// Whether it is the node that was dialled.
pub(super) fn expected(wanted: Option<NodeId>, found: NodeId) -> Result<(), Refusal> {
    match wanted {
        Some(wanted) if wanted != found => Err(Refusal::new(
            Reason::WrongNode,
            format!("node {found} answers at the address of node {wanted}"),
        )),
        _ => Ok(()),
    }
}

fn stale(node: NodeId, name: &str, incarnation: Incarnation, met: Incarnation) -> Refusal {
    Refusal::new(
        Reason::StaleIncarnation,
        format!(
            "node {node} ({name:?}) is in its start number {incarnation}, and was met in number \
             {met}: its directory is an old copy; replace the node under a new identity"
        ),
    )
}
