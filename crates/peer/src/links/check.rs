//! Whether two nodes belong together.

use trilith_types::{
    Incarnation, NodeId, Succession,
    planted::{self, Bug},
};

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
    if let Some(message) = registry.removed(member.node) {
        return Err(Refusal::new(Reason::Removed, message));
    }
    life((member.node, &them.name), met, them.incarnation)
        .map_err(|message| Refusal::new(Reason::StaleIncarnation, message))?;
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
    let Identity {
        name, incarnation, ..
    } = me.identity;
    life((me.member.node, name), hello.met, *incarnation)
        .map_err(|message| Refusal::new(Reason::StaleIncarnation, message))
}

/// Whether `incarnation` may be a life of the node of which `known` is the latest that is known, 0
/// for none.
///
/// # Errors
/// What is wrong and what to do.
pub fn life(
    (node, name): (NodeId, &str),
    known: Incarnation,
    incarnation: Incarnation,
) -> Result<(), String> {
    if planted::is_on(Bug::StrangersLetIn) {
        return Ok(());
    }
    let who = format_args!("{name:?} (node {node})");
    let (start, seen) = (incarnation.start(), known.start());
    match known.succession(incarnation) {
        Succession::Same | Succession::Later => Ok(()),
        Succession::Copy if planted::is_on(Bug::LivesAlike) => Ok(()),
        Succession::OtherDirectory => Err(format!(
            "{who} comes with another data directory than the one it had: it was emptied, or there \
             are two of that name; start it with its own directory, or put a new node in its place \
             (trilith cluster replace)"
        )),
        Succession::Earlier => Err(format!(
            "{who} says that this is its start number {start}, but number {seen} was seen: its data \
             directory is an old copy, or two processes use copies of one; start it with the latest, \
             or put a new node in its place (trilith cluster replace)"
        )),
        Succession::Copy => Err(format!(
            "{who} says that this is its start number {start}, drawn {:05x}, but number {seen}, drawn \
             {:05x}, was seen: another copy of its data directory has started since this one was \
             made; start it with that one, or put a new node in its place (trilith cluster replace)",
            incarnation.life(),
            known.life()
        )),
    }
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
