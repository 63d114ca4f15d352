//! The batch codec under arbitrary bytes.

use bytes::Bytes;

use crate::{BatchHeader, BatchLimits, check, decode, header::CHECKED_FROM};

/// Feeds arbitrary bytes to every decoder here and checks what they promise of one another: none
/// panics, and what [`check`] accepts, [`decode`] reads to the end, with as many records as
/// claimed. The bytes are tried as they are and once more with the length and the checksum set
/// right, without which next to none would come past the header.
pub fn fuzz_batch(data: &[u8]) {
    try_batch(data);
    let mut mended = data.to_vec();
    if mend(&mut mended).is_some() {
        try_batch(&mended);
    }
}

fn try_batch(data: &[u8]) {
    let records: Vec<_> = match decode(Bytes::copy_from_slice(data)) {
        Ok(records) => records.collect(),
        Err(_) => Vec::new(),
    };
    if let Ok(header) = check(data, &BatchLimits::default()) {
        assert_eq!(
            header.encoded_len(),
            data.len(),
            "a batch of another length was accepted"
        );
        assert_eq!(
            records.len(),
            header.record_count as usize,
            "an accepted batch reads differently"
        );
        for (n, item) in records.iter().enumerate() {
            let (offset, _) = item.as_ref().expect("an accepted batch has no bad record");
            assert_eq!(
                offset.0,
                header.base_offset.0.wrapping_add(n as u64),
                "offsets are dense"
            );
        }
    }
}

fn mend(data: &mut [u8]) -> Option<()> {
    let length = i32::try_from(data.len()).ok()?.checked_sub(12)?;
    data.get_mut(8..12)?.copy_from_slice(&length.to_be_bytes());
    *data.get_mut(16)? = 2;
    let checksum = crc32c::crc32c(data.get(CHECKED_FROM..)?);
    data.get_mut(17..21)?
        .copy_from_slice(&checksum.to_be_bytes());
    BatchHeader::parse(data).ok().map(drop)
}
