use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use trilith_peer::{
    CALL_BYTES_MAX, Call, FRAME_BYTES_TARGET, FRAME_HEADER_BYTES, Frame, FrameError, FrameReader,
    FrameWriter, Handshake, Heartbeat, NodeMessage, Outgoing, fuzz_peer,
};

use crate::values::{handshake, message};

fn write(messages: &[NodeMessage]) -> Bytes {
    let mut writer = FrameWriter::default();
    for message in messages {
        writer.push(message).unwrap();
    }
    Bytes::from(writer.finish().concat())
}

/// Reads everything in steps of `step` bytes.
fn read(mut bytes: &[u8], step: usize) -> Result<Vec<Frame>, FrameError> {
    let mut reader = FrameReader::default();
    let mut frames = Vec::new();
    loop {
        if let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        } else if bytes.is_empty() {
            assert!(
                !reader.is_within_frame(),
                "the end is in the middle of a frame"
            );
            return Ok(frames);
        } else {
            let taken = reader.put(&bytes[..step.min(bytes.len())]);
            bytes = &bytes[taken..];
        }
    }
}

fn call(id: u64, bytes: usize) -> NodeMessage {
    NodeMessage::Call(Call {
        id,
        bytes: vec![id as u8; bytes].into(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        frames in vec(vec(message(), 1..5), 1..4),
        step in prop_oneof![1..100_usize, Just(usize::MAX)],
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| write(frame)).collect();
        let step = if bytes.len() > 100_000 { step.max(1_000) } else { step };
        let expected: Vec<_> = frames.into_iter().map(Frame::Messages).collect();
        prop_assert_eq!(read(&bytes, step), Ok(expected));
    }

    #[test]
    fn a_handshake_is_read_as_it_was_written(step in handshake()) {
        let bytes = FrameWriter::handshake(&step);
        prop_assert_eq!(read(&bytes, usize::MAX), Ok(vec![Frame::Handshake(step)]));
    }

    #[test]
    fn any_damaged_byte_is_seen(messages in vec(message(), 1..3), at: prop::sample::Index, bit in 0..8_u8) {
        let mut bytes = write(&messages).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(read(&bytes, usize::MAX).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..300)) {
        fuzz_peer(&bytes);
    }
}

#[test]
fn what_a_later_version_adds_to_a_handshake_is_skipped() {
    let step = Handshake::Unfounded("n1".to_owned());
    let bytes = FrameWriter::handshake(&step);
    let mut body = bytes[FRAME_HEADER_BYTES..].to_vec();
    body.extend(b"more");
    let mut header = bytes[..12].to_vec();
    header[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    header[8..].copy_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    let header_checksum = crc32c::crc32c(&header).to_le_bytes();
    let longer = [&header[..], &header_checksum, &body].concat();
    assert_eq!(read(&longer, usize::MAX), Ok(vec![Frame::Handshake(step)]));
}

#[test]
fn every_complaint_says_what_is_wrong() {
    let good = write(&[call(1, 10)]).to_vec();
    let complain = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let header_checksum = crc32c::crc32c(&bytes[..12]).to_le_bytes();
        bytes[12..16].copy_from_slice(&header_checksum);
        read(&bytes, usize::MAX).unwrap_err().to_string()
    };
    let all = [
        read(b"GET / HTTP/1.1\r\n\r\n", 100)
            .unwrap_err()
            .to_string(),
        complain(&|bytes| bytes[4] = 9),
        complain(&|bytes| bytes[5] = 9),
        complain(&|bytes| bytes[..4].fill(0xff)),
        complain(&|bytes| bytes[20] ^= 1),
    ];
    assert_eq!(
        all.join("\n"),
        "no frame header: is that another program, or were bytes lost on the way?\n\
         frames of version 9; this node reads version 1\n\
         a frame of unknown kind 9\n\
         a frame of 4294967295 bytes; at most 33685504 are taken\n\
         a frame of 27 bytes whose checksum is wrong: it was damaged on the way"
    );
}

#[test]
fn large_payloads_are_not_copied_on_the_way_out() {
    let payload = Bytes::from(vec![7; 1 << 16]);
    let message = NodeMessage::Call(Call {
        id: 1,
        bytes: payload.clone(),
    });
    let mut writer = FrameWriter::default();
    writer.push(&message).unwrap();
    writer.push(&message).unwrap();
    let pieces = writer.finish();
    let shared = |piece: &&Bytes| piece.as_ptr() == payload.as_ptr();
    assert_eq!(pieces.iter().filter(shared).count(), 2);
    assert_eq!(pieces.len(), 4);
}

#[test]
fn a_message_beyond_the_limits_is_not_written() {
    let mut writer = FrameWriter::default();
    writer.push(&call(1, CALL_BYTES_MAX)).unwrap();
    let unfit = writer.push(&call(2, CALL_BYTES_MAX + 1)).unwrap_err();
    assert!(unfit.to_string().contains("breaks the limits"));
    let bytes = writer.finish().concat();
    let frames = read(&bytes, usize::MAX).unwrap();
    assert_eq!(frames, [Frame::Messages(vec![call(1, CALL_BYTES_MAX)])]);
    assert!(writer.finish().is_empty());
}

#[test]
fn a_queue_keeps_to_its_bytes_and_its_frames_to_theirs() {
    let mut queue = Outgoing::new(1 << 20);
    let mut taken = 0;
    while queue.push(call(taken, 10_000)) {
        taken += 1;
    }
    assert_eq!((queue.dropped(), queue.room() < 11_000), (1, true));
    let heartbeat = |sequence| {
        NodeMessage::Heartbeat(Heartbeat {
            sequence,
            ..Heartbeat::default()
        })
    };
    assert!(queue.push(heartbeat(1)), "a heartbeat always has room");
    assert!(queue.push(heartbeat(2)));
    let mut got = Vec::new();
    loop {
        let frame = queue.next_frame().concat();
        if frame.is_empty() {
            break;
        }
        assert!(frame.len() < FRAME_BYTES_TARGET + 20_000);
        for frame in read(&frame, usize::MAX).unwrap() {
            let Frame::Messages(messages) = frame else {
                panic!("only messages were queued");
            };
            got.extend(messages);
        }
    }
    // The newest heartbeat before all others, and those in their order.
    assert_eq!(got[0], heartbeat(2));
    assert!(
        got[1..]
            .iter()
            .cloned()
            .eq((0..taken).map(|n| call(n, 10_000)))
    );
    assert_eq!((queue.bytes(), queue.is_empty()), (0, true));
    queue.push(call(1, 1));
    queue.clear();
    assert!(queue.next_frame().is_empty());
}

#[test]
fn one_message_larger_than_the_queue_still_goes_alone() {
    let mut queue = Outgoing::new(100);
    assert!(queue.push(call(1, 10_000)));
    assert!(!queue.push(call(2, 1)));
    assert_eq!(read(&queue.next_frame().concat(), 999).unwrap().len(), 1);
    assert!(queue.push(call(3, 1)));
}
