//! Limits that more than one layer must agree on. Each queue and cache has its own limit, named
//! where it lives.

/// Longest topic name, in bytes (Kafka's limit).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Most partitions that one topic may have.
pub const PARTITIONS_PER_TOPIC_MAX: u32 = 10_000;

/// Largest record by default, key, value and headers together, in bytes.
pub const RECORD_BYTES_DEFAULT: u32 = 1 << 20;

/// Largest record that a topic's setting may allow, in bytes.
pub const RECORD_BYTES_MAX: u32 = 16 << 20;

/// Largest batch as it travels and as it is stored, in bytes: one record of the largest size and
/// room for its framing.
pub const BATCH_BYTES_MAX: u32 = RECORD_BYTES_MAX + (64 << 10);

/// Largest batch after decompression, in bytes. What claims to be larger is refused before any
/// memory is taken for it.
pub const BATCH_DECOMPRESSED_BYTES_MAX: u32 = 64 << 20;

/// Most records in one batch.
pub const BATCH_RECORDS_MAX: u32 = 1 << 20;

/// Most headers on one record.
pub const RECORD_HEADERS_MAX: usize = 1 << 10;

/// Longest record as one JSON object, in bytes, as this project writes it: text is written as such
/// only when escapes do not more than double it, else as base64, which is shorter.
pub const JSON_RECORD_BYTES_MAX: u32 = 2 * RECORD_BYTES_MAX + (256 << 10);
