//! The pieces that the codecs of commands and states are made of: little-endian numbers, and
//! numbers of seven bits a byte (LEB128) where most are small.

/// Writes.
#[derive(Debug, Default)]
pub(crate) struct Out(pub(crate) Vec<u8>);

impl Out {
    pub(crate) fn u8(&mut self, n: u8) -> &mut Self {
        self.0.push(n);
        self
    }

    pub(crate) fn fixed<const N: usize>(&mut self, field: [u8; N]) -> &mut Self {
        self.0.extend_from_slice(&field);
        self
    }

    /// Seven bits a byte, the low ones first; the high bit says that more follow.
    pub(crate) fn number(&mut self, mut n: u64) -> &mut Self {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.u8(n as u8)
    }

    /// Its length as a number, then the bytes.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// 0 for none, else 1 and the number.
    pub(crate) fn option(&mut self, n: Option<u64>) -> &mut Self {
        match n {
            None => self.u8(0),
            Some(n) => self.u8(1).number(n),
        }
    }
}

/// Reads; `None` when the bytes are not what was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.fixed().map(u8::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// Only the shortest writing of a number is read: a state has one encoding, so that replicas
    /// can compare bytes.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return None;
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(n);
            }
        }
        None
    }

    pub(crate) fn number32(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    /// A count of things that take at least one byte each: never more than bytes are left, so that
    /// no memory is taken for a count that is nonsense.
    pub(crate) fn count(&mut self) -> Option<usize> {
        let n = usize::try_from(self.number()?).ok()?;
        (n <= self.0.len()).then_some(n)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = self.count()?;
        std::str::from_utf8(self.bytes(length)?).ok()
    }

    pub(crate) fn option(&mut self) -> Option<Option<u64>> {
        match self.u8()? {
            0 => Some(None),
            1 => Some(Some(self.number()?)),
            _ => None,
        }
    }

    pub(crate) fn option32(&mut self) -> Option<Option<u32>> {
        self.option()?
            .map_or(Some(None), |n| Some(Some(n.try_into().ok()?)))
    }

    /// `Some` when nothing is left.
    pub(crate) const fn end(&self) -> Option<()> {
        if self.0.is_empty() { Some(()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_texts_and_options_round_trip(n: u64, text in ".{0,40}", option: Option<u64>) {
            let mut out = Out::default();
            out.number(n).text(&text).option(option).u8(7).fixed(n.to_le_bytes());
            let mut input = Input(&out.0);
            prop_assert_eq!(input.number(), Some(n));
            prop_assert_eq!(input.text(), Some(text.as_str()));
            prop_assert_eq!(input.option(), Some(option));
            prop_assert_eq!((input.u8(), input.u64()), (Some(7), Some(n)));
            prop_assert_eq!(input.end(), Some(()));
        }

        #[test]
        fn a_number_has_one_writing(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut input = Input(&bytes);
            if let Some(n) = input.number() {
                let mut out = Out::default();
                out.number(n);
                prop_assert_eq!(&out.0[..], &bytes[..bytes.len() - input.0.len()]);
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Input(&[0xff; 9]).number(), None, "it goes on");
        assert_eq!(Input(&[0xff; 11]).number(), None, "more than 64 bits");
        assert_eq!(Input(&[0x81; 11]).number(), None, "an eleventh byte");
        assert_eq!(Input(&[0x80, 0]).number(), None, "a longer writing of 0");
        assert_eq!(Input(&[9, 1]).count(), None, "more than there is");
        assert_eq!(Input(&[2]).option(), None);
        assert_eq!(Input(&[1, 0xff]).option32(), None);
        assert_eq!(Input(&[1, 0xff]).text(), None, "not UTF-8");
        assert_eq!(Input(&[1]).end(), None);
    }
}
