//! JSON objects, and what is said of JSON that is not as it should be.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A JSON object that holds a `T`. Derived readers take an array of the fields' values, too, which
/// would make a record or a topic of any array that happens to fit.
#[derive(Debug, Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object {…}")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// Reads one JSON object, or says what is wrong with it and where.
pub(crate) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    if json.trim_ascii().is_empty() {
        return Err("it is empty; a JSON object {…} is expected".to_owned());
    }
    serde_json::from_slice(json)
        .map(|Object(content)| content)
        .map_err(|error| explain(&error))
}

/// What is wrong, and where. Of text on one line the byte is named: a reader of lines counts the
/// lines itself.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) if error.line() == 1 => format!("{what}, at byte {}", error.column()),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Pair {
        left: u8,
        right: Option<Object<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        number: u8,
    }

    #[test]
    fn objects_are_read_and_arrays_that_would_fit_are_not() {
        let pair: Pair = parse(br#"{"left":1,"right":{"number":2}}"#).unwrap();
        assert_eq!((pair.left, pair.right.unwrap().0.number), (1, 2));
        for json in [&b"[1]"[..], b"[1,null]", b"7", br#"{"left":1,"right":[2]}"#] {
            let error = parse::<Pair>(json).unwrap_err();
            assert!(error.contains("expected an object {…}"), "{error}");
        }
        assert!(parse::<Pair>(b" \n").unwrap_err().contains("empty"));
    }
}
