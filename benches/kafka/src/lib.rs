//! Batches as a Kafka client reads and writes them: the crate `kafka-protocol`, which knows nothing
//! of Trilith. LZ4 comes from `lz4_flex`, for `kafka-protocol` would bring a C library.

use std::{io::Read, path::Path, sync::Arc};

use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, RecordSet, TimestampType,
};
use trilith_env::Disk;
use trilith_storage::{
    EntryKind,
    frame::FRAME_HEADER_BYTES,
    inspect,
    scan::{Body, Found},
};

/// What was found in a data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Batches that the decoder read.
    pub batches: u64,
    /// Their records.
    pub records: u64,
}

/// Takes a batch apart.
///
/// # Errors
/// What `kafka-protocol` says of it.
pub fn decode(batch: Bytes) -> anyhow::Result<RecordSet> {
    let mut rest = batch;
    let set = RecordBatchDecoder::decode_with_custom_compression(&mut rest, Some(decompress))?;
    ensure!(rest.is_empty(), "{} bytes behind the batch", rest.len());
    Ok(set)
}

fn decompress(bytes: &mut Bytes, compression: Compression) -> anyhow::Result<Bytes> {
    match compression {
        Compression::None => Ok(bytes.split_to(bytes.len())),
        Compression::Lz4 => {
            let mut out = Vec::new();
            lz4_flex::frame::FrameDecoder::new(&bytes.split_to(bytes.len())[..])
                .read_to_end(&mut out)?;
            Ok(out.into())
        }
        other => anyhow::bail!("{other:?} is not stored by Trilith"),
    }
}

/// Makes a batch.
///
/// # Errors
/// What `kafka-protocol` says of the records.
pub fn encode(records: &[Record], compression: Compression) -> anyhow::Result<Bytes> {
    let options = RecordEncodeOptions {
        version: 2,
        compression,
    };
    let mut out = BytesMut::new();
    RecordBatchEncoder::encode_with_custom_compression(
        &mut out,
        records,
        &options,
        Some(compress),
    )?;
    Ok(out.freeze())
}

fn compress(
    plain: &mut BytesMut,
    out: &mut BytesMut,
    compression: Compression,
) -> anyhow::Result<()> {
    match compression {
        Compression::None => out.put_slice(plain),
        Compression::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out.writer());
            std::io::Write::write_all(&mut encoder, plain)?;
            encoder.finish()?;
        }
        other => anyhow::bail!("{other:?} is not stored by Trilith"),
    }
    Ok(())
}

/// A record as a producer without an id sends it.
#[must_use]
pub fn record(offset: i64, timestamp: i64, key: Option<Bytes>, value: Option<Bytes>) -> Record {
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: NO_SEQUENCE,
        timestamp,
        key,
        value,
        headers: indexmap::IndexMap::new(),
    }
}

/// Takes apart every batch that is stored below `root`, and checks that its records have the
/// offsets that the log says.
///
/// # Errors
/// The first batch that does not decode, with where it lies.
pub fn decode_stored(disk: &Arc<dyn Disk>, root: &Path) -> anyhow::Result<Counted> {
    let mut counted = Counted::default();
    for dir in inspect::log_dirs(disk, root)? {
        for meta in inspect::manifest(disk, &dir)?.segments {
            let path = inspect::store_path(&dir, &meta);
            let store = std::fs::read(&path).with_context(|| path.display().to_string())?;
            let store = Bytes::from(store);
            let mut result = Ok(());
            inspect::frames(disk, &dir, &meta, &mut |found| {
                result = count(found, &store, &mut counted);
                result.is_ok()
            })?;
            result.with_context(|| path.display().to_string())?;
        }
    }
    Ok(counted)
}

fn count(found: &Found, store: &Bytes, counted: &mut Counted) -> anyhow::Result<()> {
    let Found::Frame {
        position,
        header,
        body,
    } = found
    else {
        return Ok(());
    };
    if header.is_mark() || header.kind != EntryKind::BATCH {
        return Ok(());
    }
    ensure!(*body != Body::Bad, "damaged at {position}");
    let start = *position as usize + FRAME_HEADER_BYTES;
    let set = decode(store.slice(start..start + header.payload_len as usize))
        .with_context(|| format!("the batch at {position}"))?;
    let first = header.first_offset.get() as i64;
    let offsets = set.records.iter().map(|record| record.offset);
    ensure!(
        offsets.eq(first..first + i64::from(header.records)),
        "the offsets at {position} are not {first} and on"
    );
    counted.batches += 1;
    counted.records += u64::from(header.records);
    Ok(())
}
