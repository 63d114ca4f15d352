//! The host's codecs under arbitrary bytes.

use bytes::Bytes;

use crate::{decode_configuration, encode_configuration, image::Image, replica::fuzz_part};

/// Feeds arbitrary bytes to the decoders of configurations, of what is kept beside a mark, and of
/// the parts of a snapshot. Nothing panics or takes more memory than the bytes account for, and
/// what is made of them is written and read again as the same.
pub fn fuzz_host(data: &[u8]) {
    if let Ok(configuration) = decode_configuration(data) {
        let again = decode_configuration(&encode_configuration(&configuration));
        assert_eq!(again, Ok(configuration));
    }
    if let Ok(image) = Image::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(Image::decode(image.encode()), Ok(image));
    }
    fuzz_part(data);
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};
    use trilith_raft::{Configuration, EntryId, Quorum};
    use trilith_types::{LogIndex, NodeId, Offset, Term};

    use super::*;

    fn configuration() -> impl Strategy<Value = Configuration> {
        let of_joint = |(incoming, outgoing, auto): (Vec<u64>, Vec<u64>, bool)| {
            let ids = |list: Vec<u64>| list.into_iter().map(NodeId);
            Configuration {
                auto_leave: auto && !outgoing.is_empty(),
                voters: Quorum::joint(ids(incoming), ids(outgoing)),
                ..Configuration::default()
            }
        };
        let voters = || vec(1..u64::MAX, 1..6);
        let some = (
            voters(),
            prop_oneof![Just(Vec::new()), voters()],
            any::<bool>(),
        );
        prop_oneof![Just(Configuration::default()), some.prop_map(of_joint)]
    }

    fn image() -> impl Strategy<Value = Image> {
        let id = || (any::<u64>(), any::<u64>());
        (
            (any::<u64>(), any::<u64>(), option::of(id()), any::<bool>()),
            vec((any::<u64>(), configuration()), 0..4),
            vec(id(), 0..4),
            vec(any::<u8>(), 0..40),
        )
            .prop_map(
                |((generation, visible, doubt, is_lost), members, terms, state)| Image {
                    generation,
                    visible: Offset(visible),
                    doubt: doubt.map(|(term, index)| EntryId::new(term, index)),
                    is_lost,
                    configurations: members
                        .into_iter()
                        .map(|(at, c)| (LogIndex(at), c))
                        .collect(),
                    terms: terms
                        .into_iter()
                        .map(|(t, i)| (Term(t), LogIndex(i)))
                        .collect(),
                    machine: state.into(),
                },
            )
    }

    proptest! {
        #[test]
        fn configurations_and_images_come_back_as_they_were(members in configuration(), image in image()) {
            prop_assert_eq!(decode_configuration(&encode_configuration(&members)), Ok(members));
            prop_assert_eq!(Image::decode(image.encode()), Ok(image));
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
            fuzz_host(&bytes);
        }

        #[test]
        fn nearly_right_bytes_are_a_value_or_an_error(
            image in image(),
            at in any::<prop::sample::Index>(),
            bits in 1..=u8::MAX,
        ) {
            let mut bytes = image.encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            fuzz_host(&bytes);
        }
    }
}
