//! `trilith cluster replace`.

use crate::{connection::Patient, failure::Failure, output::print_line};

pub(super) async fn run(connection: &Patient, old: &str, with: &str) -> Result<(), Failure> {
    let (name, address) = named(with)?;
    let client = connection.open().await?;
    let node = client.replace_node(old, name, address).await?;
    let number = node.id.map_or("-".into(), |id| id.to_string());
    Ok(print_line(&format!(
        "{name} is node {number} and takes the place of {old}; 'trilith cluster status' tells how far \
         it is"
    ))?)
}

/// `NAME=HOST:PORT`.
fn named(text: &str) -> Result<(&str, &str), Failure> {
    let parts = text.split_once('=');
    let parts = parts.filter(|(name, address)| !name.is_empty() && address.contains(':'));
    parts
        .ok_or_else(|| Failure::Usage(format!("--with: {text:?} is not written as NAME=HOST:PORT")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_node_is_given_by_name_and_address() {
        assert_eq!(named("n4=d:7401").unwrap(), ("n4", "d:7401"));
        for wrong in ["n4", "=d:7401", "n4=", "n4=d"] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
    }
}
