//! The handshake's bytes. They are the same in every version: what a later one adds stands behind
//! what is there, and is not looked at by an earlier one.

use bytes::Bytes;
use trilith_types::{ClusterId, Incarnation, NodeId};

use super::{Features, Handshake, Hello, Introduction, Reason, Refusal, Versions};
use crate::{
    codec::{
        CodecError,
        wire::{Malformed, Reader, Writer},
    },
    config::{ADDRESS_BYTES_MAX, FOUNDERS_MAX, NODE_NAME_BYTES_MAX, REASON_BYTES_MAX},
    message::Class,
    registry::{Found, Founder, Membership},
};

/// The first bytes of every handshake.
const MAGIC: [u8; 8] = *b"TRI-PEER";

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSED: u8 = 3;
const FOUND: u8 = 4;
const UNFOUNDED: u8 = 5;

pub(crate) fn write(w: &mut Writer, step: &Handshake) {
    w.put(&MAGIC);
    match step {
        Handshake::Hello(hello) => {
            w.u8(HELLO);
            write_introduction(w, &hello.from);
            w.u64(hello.to.map_or(0, NodeId::get));
            w.u64(hello.met.0);
            w.u8(class_number(hello.class));
        }
        Handshake::Welcome(introduction) => {
            w.u8(WELCOME);
            write_introduction(w, introduction);
        }
        Handshake::Refused(refusal) => {
            w.u8(REFUSED);
            w.u8(reason_number(refusal.reason));
            w.text(&refusal.message, REASON_BYTES_MAX);
        }
        Handshake::Found(found) => {
            w.u8(FOUND);
            write_found(w, found);
        }
        Handshake::Unfounded(name) => {
            w.u8(UNFOUNDED);
            w.text(name, NODE_NAME_BYTES_MAX);
        }
    }
}

pub(crate) fn read(body: &Bytes) -> Result<Handshake, CodecError> {
    let mut reader = Reader::new(body);
    let r = &mut reader;
    if r.array("magic")? != MAGIC {
        return Err(r.error(Malformed::Contradiction("not the magic of a handshake")));
    }
    Ok(match r.u8("kind of handshake")? {
        HELLO => Handshake::Hello(read_hello(r)?),
        WELCOME => Handshake::Welcome(read_introduction(r)?),
        REFUSED => Handshake::Refused(Refusal {
            reason: reason(r.u8("reason")?),
            message: r.text("message", REASON_BYTES_MAX)?,
        }),
        FOUND => Handshake::Found(read_found(r)?),
        UNFOUNDED => Handshake::Unfounded(r.text("name", NODE_NAME_BYTES_MAX)?),
        number => return Err(r.unknown("kind of handshake", number.into())),
    })
}

/// Node 0 means nobody: a node that belongs to no cluster.
fn write_introduction(w: &mut Writer, introduction: &Introduction) {
    let (cluster, node) = introduction
        .member
        .map_or((0, 0), |member| (member.cluster.0, member.node.0));
    w.u128(cluster);
    w.u64(node);
    w.u64(introduction.incarnation.0);
    w.u16(introduction.versions.min);
    w.u16(introduction.versions.max);
    w.u64(introduction.features.0);
    w.text(&introduction.name, NODE_NAME_BYTES_MAX);
}

fn read_introduction(r: &mut Reader<'_>) -> Result<Introduction, CodecError> {
    let cluster = ClusterId(r.u128("cluster")?);
    let node = r.node("node")?;
    let incarnation = Incarnation(r.u64("incarnation")?);
    let versions = Versions {
        min: r.u16("lowest version")?,
        max: r.u16("highest version")?,
    };
    Ok(Introduction {
        member: (node != NodeId(0)).then_some(Membership { cluster, node }),
        incarnation,
        versions,
        features: Features(r.u64("features")?),
        name: r.text("name", NODE_NAME_BYTES_MAX)?,
    })
}

fn read_hello(r: &mut Reader<'_>) -> Result<Hello, CodecError> {
    let from = read_introduction(r)?;
    let to = r.node("wanted node")?;
    let met = Incarnation(r.u64("met incarnation")?);
    let class = match r.u8("class")? {
        1 => Class::Control,
        2 => Class::Bulk,
        number => return Err(r.unknown("class", number.into())),
    };
    Ok(Hello {
        from,
        to: (to != NodeId(0)).then_some(to),
        met,
        class,
    })
}

fn write_found(w: &mut Writer, found: &Found) {
    w.u128(found.cluster.0);
    let members = found.members.get(..FOUNDERS_MAX).unwrap_or(&found.members);
    w.u32(members.len() as u32);
    for member in members {
        w.u64(member.node.0);
        w.text(&member.name, NODE_NAME_BYTES_MAX);
        w.text(&member.peer_address, ADDRESS_BYTES_MAX);
        w.text(&member.client_address, ADDRESS_BYTES_MAX);
    }
    w.u8(found.joins.into());
}

fn read_found(r: &mut Reader<'_>) -> Result<Found, CodecError> {
    let cluster = ClusterId(r.u128("cluster")?);
    // 14 bytes: a number and three empty texts.
    let count = r.count("founders", FOUNDERS_MAX, 14)?;
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        members.push(Founder {
            node: r.node("founder")?,
            name: r.text("name", NODE_NAME_BYTES_MAX)?,
            peer_address: r.text("address for nodes", ADDRESS_BYTES_MAX)?,
            client_address: r.text("address for clients", ADDRESS_BYTES_MAX)?,
        });
    }
    let joins = match r.u8("joining")? {
        0 => false,
        1 => true,
        number => return Err(r.unknown("way to become a member", number.into())),
    };
    Ok(Found {
        cluster,
        members,
        joins,
    })
}

const fn class_number(class: Class) -> u8 {
    match class {
        Class::Control => 1,
        Class::Bulk => 2,
    }
}

const fn reason_number(reason: Reason) -> u8 {
    match reason {
        Reason::ForeignCluster => 1,
        Reason::NoCommonVersion => 2,
        Reason::WrongNode => 3,
        Reason::SameNode => 4,
        Reason::NotAdmitted => 5,
        Reason::StaleIncarnation => 6,
        Reason::Crossed => 7,
        Reason::Unfounded => 8,
        Reason::NotFounded => 9,
        Reason::Removed => 10,
        Reason::Other => 255,
    }
}

const fn reason(number: u8) -> Reason {
    match number {
        1 => Reason::ForeignCluster,
        2 => Reason::NoCommonVersion,
        3 => Reason::WrongNode,
        4 => Reason::SameNode,
        5 => Reason::NotAdmitted,
        6 => Reason::StaleIncarnation,
        7 => Reason::Crossed,
        8 => Reason::Unfounded,
        9 => Reason::NotFounded,
        10 => Reason::Removed,
        _ => Reason::Other,
    }
}
