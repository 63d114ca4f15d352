//! The fuzz function over a seeded corpus: batches of every kind, changed in every way that has
//! found bugs elsewhere. The same seed gives the same run.

use bytes::Bytes;
use trilith_batch::{BatchBuilder, Compression, Header, Record, fuzz_batch};
use trilith_types::TimestampMs;

const SEED: u64 = 0x7213_1173;
const ROUNDS: usize = 4000;

/// A small generator (xorshift64*, Vigna 2016), so that a run depends on nothing else.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn build(compression: Compression, records: impl IntoIterator<Item = Record>) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for record in records {
        builder.push(&record).expect("the corpus fits its batches");
    }
    builder.build().expect("the corpus has records")
}

fn corpus() -> Vec<Bytes> {
    let header = |name: &str, value: Option<&'static str>| Header {
        name: name.into(),
        value: value.map(Bytes::from),
    };
    let value = |bytes: usize| Record {
        value: Some(vec![b'v'; bytes].into()),
        ..Record::default()
    };
    let full = Record {
        key: Some("key".into()),
        value: Some("value".into()),
        headers: vec![
            header("name", Some("x")),
            header("name", None),
            header("", Some("")),
        ],
        timestamp: TimestampMs(1_700_000_000_000),
    };
    let times = [5, -5, i64::MAX / 2].map(|ms| Record {
        timestamp: TimestampMs(ms),
        ..Record::default()
    });
    let kinds = [
        vec![Record::default()],
        vec![full; 3],
        times.to_vec(),
        (0..200).map(value).collect(),
        vec![value(70_000), value(1), value(70_000)],
    ];
    let both = [Compression::None, Compression::Lz4];
    kinds
        .iter()
        .flat_map(|kind| both.map(|compression| build(compression, kind.clone())))
        .collect()
}

/// Bytes that decide something: ends of ranges, lengths of one more, signs.
const TELLING: [u8; 9] = [0x00, 0x01, 0x02, 0x03, 0x7e, 0x7f, 0x80, 0xfe, 0xff];

fn change(batch: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(batch.len());
    match random.below(6) {
        0 => {
            if let Some(byte) = batch.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            let telling = TELLING.get(random.below(TELLING.len()));
            if let (Some(byte), Some(telling)) = (batch.get_mut(at), telling) {
                *byte = *telling;
            }
        }
        2 => batch.truncate(at),
        3 => batch.insert(at.min(batch.len()), random.next() as u8),
        4 => drop(batch.splice(at.., other.iter().skip(random.below(other.len())).copied())),
        _ => {
            let until = (at + random.below(9)).min(batch.len());
            drop(batch.drain(at.min(until)..until));
        }
    }
}

#[test]
fn no_input_panics_or_is_read_differently_than_it_was_checked() {
    let corpus = corpus();
    let mut random = Random(SEED);
    for batch in &corpus {
        fuzz_batch(batch);
        for _ in 0..ROUNDS / corpus.len() {
            let mut changed = batch.to_vec();
            for _ in 0..=random.below(3) {
                let other = corpus
                    .get(random.below(corpus.len()))
                    .expect("the corpus is not empty");
                change(&mut changed, other, &mut random);
            }
            fuzz_batch(&changed);
        }
    }
}
