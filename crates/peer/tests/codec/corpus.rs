//! The fuzz function over a seeded corpus: messages of every kind, changed. The same seed gives
//! the same run.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use trilith_peer::{FRAME_HEADER_BYTES, FrameWriter, fuzz_peer};
use trilith_raft::{Random, SplitMix64};

use crate::values::{handshake, message};

const SEED: [u8; 32] = [0x72; 32];
const BODIES: usize = 300;
const CHANGES: usize = 12;

fn corpus() -> Vec<Vec<u8>> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &SEED);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut bodies = Vec::new();
    for _ in 0..BODIES {
        let message = message().new_tree(&mut runner).unwrap().current();
        if message.wire_bytes() > 5_000 {
            continue;
        }
        let mut writer = FrameWriter::default();
        writer.push(&message).unwrap();
        bodies.push(writer.finish().concat()[FRAME_HEADER_BYTES..].to_vec());
        let step = handshake().new_tree(&mut runner).unwrap().current();
        bodies.push(FrameWriter::handshake(&step)[FRAME_HEADER_BYTES..].to_vec());
    }
    bodies
}

fn change(body: &mut Vec<u8>, other: &[u8], random: &mut SplitMix64) {
    let mut below = |bound: usize| random.below(bound.max(1) as u64) as usize;
    let at = below(body.len());
    match below(5) {
        0 => body[at] ^= 1 << below(8),
        1 => body[at] = [0, 1, 2, 0x7f, 0x80, 0xff][below(6)],
        2 => body.truncate(at.max(1)),
        3 => body.insert(at, below(256) as u8),
        _ => drop(body.splice(at.., other[below(other.len())..].iter().copied())),
    }
    if body.is_empty() {
        body.push(0);
    }
}

#[test]
fn no_change_makes_it_panic_or_read_what_it_cannot_write() {
    let corpus = corpus();
    let mut random = SplitMix64(7);
    for body in &corpus {
        fuzz_peer(body);
        for _ in 0..CHANGES {
            let mut changed = body.clone();
            for _ in 0..=random.below(3) {
                let other = &corpus[random.below(corpus.len() as u64) as usize];
                change(&mut changed, other, &mut random);
            }
            fuzz_peer(&changed);
        }
    }
}
