//! Escapes in texts that are typed, as kcat has them.

use std::str::{Chars, FromStr};

/// The text between a line's key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delimiter(pub(crate) Vec<u8>);

impl FromStr for Delimiter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => bytes.push(unescape(&mut chars)?),
                c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if bytes.is_empty() {
            return Err("a delimiter must not be empty".into());
        }
        if bytes.contains(&b'\n') {
            return Err("a line holds no line break to split at".into());
        }
        Ok(Self(bytes))
    }
}

/// The byte that the characters after a backslash stand for.
pub(crate) fn unescape(chars: &mut Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits: String = chars.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16)
                .map_err(|_| format!("\\x{digits}: two hexadecimal digits come after \\x"))
        }
        Some(c) => Err(format!(
            "\\{c} is not known; there are \\n \\t \\r \\0 \\\\ and \\xHH"
        )),
        None => Err("the text ends in a single backslash; write \\\\ for one".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_may_be_escaped() {
        let parse = |text: &str| text.parse::<Delimiter>().map(|delimiter| delimiter.0);
        assert_eq!(parse("\\t"), Ok(b"\t".to_vec()));
        assert_eq!(parse("\t"), Ok(b"\t".to_vec()));
        assert_eq!(parse("::"), Ok(b"::".to_vec()));
        assert_eq!(parse("→"), Ok("→".as_bytes().to_vec()));
        assert_eq!(parse("\\x1f\\\\"), Ok(b"\x1f\\".to_vec()));
        for wrong in ["", "\\", "\\q", "\\xZ", "\\n"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
