//! The frame codec under arbitrary bytes.

use bytes::Bytes;

use crate::{
    codec::wire::Writer,
    frame::{FRAME_HEADER_BYTES, Frame, FrameReader, FrameWriter},
};

/// Feeds arbitrary bytes to the reader of a connection: as they are, and as the body of a frame of
/// each kind with its lengths and checksums set right, without which next to none would come past
/// them. Nothing panics, and what is read is written and read again as the same.
pub fn fuzz_peer(data: &[u8]) {
    try_stream(data);
    for kind in FrameWriter::KINDS {
        let mut frame = FrameWriter::raw(kind, data);
        try_stream(&frame);
        // The same as one message, its length set right.
        let mut one = Writer::default();
        one.u32(data.len() as u32);
        one.put(data);
        frame = FrameWriter::raw(kind, &one.take().concat());
        try_stream(&frame);
    }
}

fn try_stream(mut data: &[u8]) {
    let mut reader = FrameReader::default();
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => try_again(&frame),
            Ok(None) if data.is_empty() => return,
            Ok(None) => {
                let taken = reader.put(data);
                assert!(taken > 0, "a reader that waits has room");
                data = data.get(taken..).unwrap_or_default();
            }
            Err(error) => {
                assert!(!error.to_string().is_empty(), "an error says something");
                return;
            }
        }
    }
}

fn try_again(frame: &Frame) {
    let bytes = match frame {
        Frame::Handshake(step) => FrameWriter::handshake(step),
        Frame::Messages(messages) => {
            let mut writer = FrameWriter::default();
            for message in messages {
                let pushed = writer.push(message);
                assert!(pushed.is_ok(), "what was read keeps to the limits");
            }
            Bytes::from(writer.finish().concat())
        }
    };
    if bytes.len() <= FRAME_HEADER_BYTES {
        return;
    }
    let mut reader = FrameReader::default();
    let mut rest = &bytes[..];
    loop {
        match reader.next_frame() {
            Ok(Some(again)) => return assert_eq!(&again, frame, "the same value comes back"),
            Ok(None) => {
                let taken = reader.put(rest);
                assert!(taken > 0, "a frame that was written is whole");
                rest = rest.get(taken..).unwrap_or_default();
            }
            Err(error) => {
                let is_read = false;
                assert!(is_read, "what was written is read again: {error}");
            }
        }
    }
}
