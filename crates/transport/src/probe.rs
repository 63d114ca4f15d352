//! Asking who listens at an address, before anything is built on it.

use std::{io, time::Duration};

use trilith_peer::{
    Class, ConnId, Frame, FrameReader, Handshake, Hello, Introduction, Reason, Refusal,
};
use trilith_types::{Incarnation, NodeId};

use crate::{
    connection::{Connection, ReadError},
    sockets::connect,
};

/// Who answers at an address for other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhoIsThere {
    /// A node that belongs to no cluster and waits for one, with its name.
    Waits(String),
    /// A node of the asker's cluster.
    Member(NodeId, String),
    /// A node that will have nothing to do with the asker, and why.
    Refuses(Refusal),
}

/// Says hello at `address` as the node that `from` introduces, and nothing more: the connection is
/// closed again. Blocks, for `patience` with each step.
///
/// # Errors
/// Nobody is reached there in time, or what answers is no node.
pub fn who_is_at(address: &str, from: Introduction, patience: Duration) -> io::Result<WhoIsThere> {
    let stream = connect(address, patience)?;
    stream.set_patience(patience)?;
    let connection = Connection::new(ConnId(0), stream);
    connection.say(&Handshake::Hello(Hello {
        from,
        to: None,
        met: Incarnation(0),
        class: Class::Control,
    }));
    let mut reader = FrameReader::default();
    let mut answer = None;
    while answer.is_none() {
        let took = connection.read(&mut reader, |frame| {
            answer.get_or_insert_with(|| answer_in(frame));
            Ok(())
        });
        match took {
            Ok(true) => {}
            Ok(false) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(ReadError::Gone(error)) => return Err(error),
            Err(ReadError::Bad(what)) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
    }
    connection.close();
    answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn answer_in(frame: Frame) -> WhoIsThere {
    match frame {
        Frame::Handshake(Handshake::Unfounded(name)) => WhoIsThere::Waits(name),
        Frame::Handshake(Handshake::Welcome(them)) => match them.member {
            Some(member) => WhoIsThere::Member(member.node, them.name),
            None => WhoIsThere::Waits(them.name),
        },
        Frame::Handshake(Handshake::Refused(refusal)) => WhoIsThere::Refuses(refusal),
        _ => WhoIsThere::Refuses(Refusal {
            reason: Reason::Other,
            message: "it answers what no node answers to a hello".to_owned(),
        }),
    }
}
