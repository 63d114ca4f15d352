//! A topic's settings.

use std::time::Duration;

use trilith_storage::{LogConfig, RetentionPolicy};
use trilith_types::limits::{PARTITIONS_PER_TOPIC_MAX, RECORD_BYTES_DEFAULT, RECORD_BYTES_MAX};

use crate::SettingError;

/// The lowest and highest value of each setting, both allowed.
pub mod bounds {
    /// Smallest segment: below this its index files outweigh it.
    pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
    /// Largest segment. Retention removes whole segments, and recovery scans the last one.
    pub const SEGMENT_BYTES_MAX: u64 = 4 << 30;
    /// Shortest age of a segment.
    pub const SEGMENT_MS_MIN: u64 = 100;
    /// Longest age of anything: a hundred years.
    pub const AGE_MS_MAX: u64 = 100 * 365 * 24 * 60 * 60 * 1000;
    /// Most replicas of a partition: four of nine may fail, and each more costs every write.
    pub const REPLICAS_MAX: u32 = 9;
}

use bounds::{AGE_MS_MAX, REPLICAS_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_MS_MIN};

/// A topic's settings, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// How many partitions; it can only grow.
    pub partitions: u32,
    /// The oldest segments go while a partition is larger than this; 0 keeps everything.
    pub retention_bytes: u64,
    /// Segments go when their newest entry was appended longer ago than this, in milliseconds; 0
    /// keeps everything.
    pub retention_ms: u64,
    /// A segment is closed before it grows past this size.
    pub segment_bytes: u64,
    /// A segment is closed when its first entry is older than this, in milliseconds.
    pub segment_ms: u64,
    /// Largest record: key, value and headers together, in bytes.
    pub record_bytes_max: u32,
    /// How many nodes hold each partition. It is set when the topic is created.
    pub replicas: u32,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            partitions: 1,
            retention_bytes: 0,
            retention_ms: 0,
            segment_bytes: 64 << 20,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            record_bytes_max: RECORD_BYTES_DEFAULT,
            replicas: 3,
        }
    }
}

/// Some settings: what is `None` takes its default in a new topic and stays as it is in an old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicSettingsPatch {
    /// As [`TopicSettings::partitions`].
    pub partitions: Option<u32>,
    /// As [`TopicSettings::retention_bytes`].
    pub retention_bytes: Option<u64>,
    /// As [`TopicSettings::retention_ms`].
    pub retention_ms: Option<u64>,
    /// As [`TopicSettings::segment_bytes`].
    pub segment_bytes: Option<u64>,
    /// As [`TopicSettings::segment_ms`].
    pub segment_ms: Option<u64>,
    /// As [`TopicSettings::record_bytes_max`].
    pub record_bytes_max: Option<u32>,
    /// As [`TopicSettings::replicas`].
    pub replicas: Option<u32>,
}

impl TopicSettings {
    /// These settings with those of `patch` that are given, for a topic that has these.
    ///
    /// # Errors
    /// Names the first setting out of its bounds; fewer partitions than there are; another number
    /// of replicas.
    pub fn patched(&self, patch: &TopicSettingsPatch) -> Result<Self, SettingError> {
        let patched = self.with(patch);
        patched.check()?;
        if patched.partitions < self.partitions {
            return Err(SettingError::FewerPartitions {
                has: self.partitions,
                asked: patched.partitions,
            });
        }
        if patched.replicas != self.replicas {
            return Err(SettingError::ReplicasFixed {
                has: self.replicas,
                asked: patched.replicas,
            });
        }
        Ok(patched)
    }

    /// Settings of a new topic.
    ///
    /// # Errors
    /// Names the first setting out of its bounds.
    pub fn new(patch: &TopicSettingsPatch) -> Result<Self, SettingError> {
        let settings = Self::default().with(patch);
        settings.check()?;
        Ok(settings)
    }

    fn with(&self, patch: &TopicSettingsPatch) -> Self {
        Self {
            partitions: patch.partitions.unwrap_or(self.partitions),
            retention_bytes: patch.retention_bytes.unwrap_or(self.retention_bytes),
            retention_ms: patch.retention_ms.unwrap_or(self.retention_ms),
            segment_bytes: patch.segment_bytes.unwrap_or(self.segment_bytes),
            segment_ms: patch.segment_ms.unwrap_or(self.segment_ms),
            record_bytes_max: patch.record_bytes_max.unwrap_or(self.record_bytes_max),
            replicas: patch.replicas.unwrap_or(self.replicas),
        }
    }

    pub(crate) fn check(&self) -> Result<(), SettingError> {
        within(
            "partitions",
            self.partitions.into(),
            1,
            PARTITIONS_PER_TOPIC_MAX.into(),
        )?;
        within("retention_ms", self.retention_ms, 0, AGE_MS_MAX)?;
        within(
            "segment_bytes",
            self.segment_bytes,
            SEGMENT_BYTES_MIN,
            SEGMENT_BYTES_MAX,
        )?;
        within("segment_ms", self.segment_ms, SEGMENT_MS_MIN, AGE_MS_MAX)?;
        within(
            "record_bytes_max",
            self.record_bytes_max.into(),
            1,
            RECORD_BYTES_MAX.into(),
        )?;
        within("replicas", self.replicas.into(), 1, REPLICAS_MAX.into())
    }

    /// What retention may remove.
    #[must_use]
    pub fn retention(&self) -> RetentionPolicy {
        RetentionPolicy {
            bytes: (self.retention_bytes > 0).then_some(self.retention_bytes),
            age: (self.retention_ms > 0).then(|| Duration::from_millis(self.retention_ms)),
        }
    }

    /// `base` with what these settings say of a partition's log.
    #[must_use]
    pub fn log_config(&self, base: &LogConfig) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            segment_age: Some(Duration::from_millis(self.segment_ms)),
            ..base.clone()
        }
    }
}

fn within(setting: &'static str, value: u64, min: u64, max: u64) -> Result<(), SettingError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(SettingError::OutOfBounds {
            setting,
            value,
            min,
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_takes_its_default_and_then_stays() {
        let patch = TopicSettingsPatch {
            partitions: Some(3),
            retention_ms: Some(60_000),
            ..Default::default()
        };
        let new = TopicSettings::new(&patch).unwrap();
        assert_eq!(
            new,
            TopicSettings {
                partitions: 3,
                retention_ms: 60_000,
                ..TopicSettings::default()
            }
        );
        let patch = TopicSettingsPatch {
            retention_bytes: Some(7),
            retention_ms: Some(0),
            segment_bytes: Some(1 << 20),
            segment_ms: Some(1000),
            record_bytes_max: Some(9),
            partitions: None,
            replicas: None,
        };
        let altered = new.patched(&patch).unwrap();
        assert_eq!(
            (
                altered.partitions,
                altered.retention_bytes,
                altered.retention_ms
            ),
            (3, 7, 0)
        );
        assert_eq!(
            (
                altered.segment_bytes,
                altered.segment_ms,
                altered.record_bytes_max
            ),
            (1 << 20, 1000, 9)
        );
        assert_eq!(altered.patched(&TopicSettingsPatch::default()), Ok(altered));
    }

    #[test]
    fn each_bound_is_named() {
        let refused = |patch: TopicSettingsPatch| match TopicSettings::new(&patch).unwrap_err() {
            SettingError::OutOfBounds { setting, .. } => setting,
            other => panic!("{other}"),
        };
        let none = TopicSettingsPatch::default();
        assert_eq!(
            refused(TopicSettingsPatch {
                partitions: Some(0),
                ..none
            }),
            "partitions"
        );
        assert_eq!(
            refused(TopicSettingsPatch {
                partitions: Some(10_001),
                ..none
            }),
            "partitions"
        );
        assert_eq!(
            refused(TopicSettingsPatch {
                retention_ms: Some(u64::MAX),
                ..none
            }),
            "retention_ms"
        );
        assert_eq!(
            refused(TopicSettingsPatch {
                segment_bytes: Some(1),
                ..none
            }),
            "segment_bytes"
        );
        assert_eq!(
            refused(TopicSettingsPatch {
                segment_ms: Some(0),
                ..none
            }),
            "segment_ms"
        );
        assert_eq!(
            refused(TopicSettingsPatch {
                record_bytes_max: Some(17 << 20),
                ..none
            }),
            "record_bytes_max"
        );
        assert_eq!(
            refused(TopicSettingsPatch {
                replicas: Some(10),
                ..none
            }),
            "replicas"
        );
    }

    #[test]
    fn replicas_are_set_once() {
        let patch = |n| TopicSettingsPatch {
            replicas: Some(n),
            ..Default::default()
        };
        let settings = TopicSettings::new(&patch(5)).unwrap();
        assert_eq!(settings.replicas, 5);
        assert_eq!(settings.patched(&patch(5)), Ok(settings));
        assert_eq!(
            settings.patched(&patch(3)),
            Err(SettingError::ReplicasFixed { has: 5, asked: 3 })
        );
    }

    #[test]
    fn partitions_only_grow() {
        let three = TopicSettings {
            partitions: 3,
            ..TopicSettings::default()
        };
        let patch = |n| TopicSettingsPatch {
            partitions: Some(n),
            ..Default::default()
        };
        assert_eq!(
            three.patched(&patch(2)),
            Err(SettingError::FewerPartitions { has: 3, asked: 2 })
        );
        assert_eq!(three.patched(&patch(4)).unwrap().partitions, 4);
    }

    #[test]
    fn zero_keeps_everything() {
        let none = TopicSettings::default().retention();
        assert_eq!((none.bytes, none.age), (None, None));
        let some = TopicSettings {
            retention_bytes: 5,
            retention_ms: 7,
            ..TopicSettings::default()
        }
        .retention();
        assert_eq!(
            (some.bytes, some.age),
            (Some(5), Some(Duration::from_millis(7)))
        );
    }

    #[test]
    fn the_log_takes_the_topics_segment_settings_and_keeps_the_rest() {
        let base = LogConfig {
            reserve_bytes: 1,
            ..LogConfig::default()
        };
        let settings = TopicSettings {
            segment_bytes: 1 << 20,
            segment_ms: 1000,
            ..TopicSettings::default()
        };
        let config = settings.log_config(&base);
        assert_eq!((config.segment_bytes, config.reserve_bytes), (1 << 20, 1));
        assert_eq!(config.segment_age, Some(Duration::from_secs(1)));
    }
}
