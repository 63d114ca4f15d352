//! The config file of `trilith serve`: TOML, one key for each flag.
//!
//! A file is turned into the flags that it stands for, so that a setting has one meaning, one
//! default and one error message wherever it is given. What a flag or the environment gives goes
//! before the file.

use std::{ffi::OsString, fs, path::Path};

use clap::{ArgAction, ArgMatches, Command, parser::ValueSource};
use toml::de::{DeTable, DeValue};

/// Arguments that are no settings: they say where settings are, or belong to one process.
const NOT_SETTINGS: [&str; 4] = ["config", "with_parent", "help", "version"];
/// A suggestion is at most this far from what was written.
const LIKENESS_MIN: f64 = 0.7;

/// Why a config file cannot be used.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the config file {file}: {why}")]
    Read { file: String, why: String },
    #[error("{file}: {why}")]
    Syntax { file: String, why: String },
    #[error("{file}, line {line}: there is no setting {key:?}{hint}")]
    Unknown {
        file: String,
        line: usize,
        key: String,
        hint: String,
    },
    #[error("{file}, line {line}: {key} must be {expected}, not {found}")]
    Type {
        file: String,
        line: usize,
        key: String,
        expected: &'static str,
        found: &'static str,
    },
}

/// The names of all settings, as files spell them.
pub(crate) fn settings(command: &Command) -> impl Iterator<Item = &clap::Arg> {
    command
        .get_arguments()
        .filter(|arg| !NOT_SETTINGS.contains(&arg.get_id().as_str()))
}

/// The flags that a file stands for, without those that were `given` otherwise.
pub(crate) fn flags(
    path: &Path,
    command: &Command,
    given: &ArgMatches,
) -> Result<Vec<OsString>, ConfigError> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| ConfigError::Read {
        file: file.clone(),
        why: error.to_string(),
    })?;
    let is_given = |id: &str| {
        let source = given.value_source(id);
        matches!(
            source,
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        )
    };
    let all = read(&file, &text, command)?;
    let wanted = all.into_iter().filter(|(id, _)| !is_given(id));
    Ok(wanted.flat_map(|(_, flags)| flags).collect())
}

/// Each setting of the text with the flags that it stands for.
fn read(
    file: &str,
    text: &str,
    command: &Command,
) -> Result<Vec<(String, Vec<OsString>)>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        file: file.to_owned(),
        why: error.to_string().trim_end().to_owned(),
    })?;
    let mut all = Vec::new();
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        let line = line_of(text, key.span().start);
        let Some(arg) = settings(command).find(|arg| arg.get_id() == name) else {
            return Err(ConfigError::Unknown {
                file: file.to_owned(),
                line,
                key: name.to_owned(),
                hint: hint(name, command),
            });
        };
        let flags = flags_of(arg, value.get_ref()).map_err(|expected| ConfigError::Type {
            file: file.to_owned(),
            line,
            key: name.to_owned(),
            expected,
            found: value.get_ref().type_str(),
        })?;
        all.push((name.to_owned(), flags));
    }
    Ok(all)
}

/// The flags of one setting, or what its value must be.
fn flags_of(arg: &clap::Arg, value: &DeValue<'_>) -> Result<Vec<OsString>, &'static str> {
    let flag = format!("--{}", arg.get_long().unwrap_or_default());
    let with = |text: &str| OsString::from(format!("{flag}={text}"));
    match (arg.get_action(), value) {
        (ArgAction::SetTrue, DeValue::Boolean(true)) => Ok(vec![flag.into()]),
        (ArgAction::SetTrue, DeValue::Boolean(false)) => Ok(Vec::new()),
        (ArgAction::SetTrue, _) => Err("true or false"),
        (ArgAction::Append, DeValue::Array(items)) => items
            .iter()
            .map(|item| item.get_ref().as_str().map(with).ok_or("a list of texts"))
            .collect(),
        (ArgAction::Append, _) => Err("a list of texts"),
        (_, DeValue::String(text)) => Ok(vec![with(text)]),
        (_, DeValue::Integer(number)) => Ok(vec![with(number.as_str())]),
        _ => Err("a text"),
    }
}

fn line_of(text: &str, position: usize) -> usize {
    let before = text.get(..position).unwrap_or(text);
    before.matches('\n').count() + 1
}

fn hint(written: &str, command: &Command) -> String {
    let likeness = |name: &str| strsim::jaro_winkler(name, &written.replace('-', "_"));
    let best = settings(command)
        .map(|arg| arg.get_id().as_str())
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best.filter(|name| likeness(name) >= LIKENESS_MIN) {
        Some(name) => format!("; did you mean {name}?"),
        None => "; docs/CONFIG.md and 'trilith serve --help' list them".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    fn serve() -> Command {
        let cli = Cli::command();
        cli.find_subcommand("serve").unwrap().clone()
    }

    fn flags_in(text: &str) -> Result<Vec<String>, ConfigError> {
        let all = read("f.toml", text, &serve())?;
        let flags = all.into_iter().flat_map(|(_, flags)| flags);
        Ok(flags.map(|flag| flag.into_string().unwrap()).collect())
    }

    #[test]
    fn a_setting_becomes_its_flag() {
        let text = "listen = '127.0.0.1:1'\ninsecure = true\nallow_host = ['a', 'b']\n";
        let mut flags = flags_in(text).unwrap();
        flags.sort();
        let wanted = [
            "--allow-host=a",
            "--allow-host=b",
            "--insecure",
            "--listen=127.0.0.1:1",
        ];
        assert_eq!(flags, wanted);
        assert!(flags_in("insecure = false").unwrap().is_empty());
        assert_eq!(flags_in("reserve = 1024").unwrap(), ["--reserve=1024"]);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let said = |text: &str| flags_in(text).unwrap_err().to_string();
        let unknown = said("listen = '127.0.0.1:1'\n\npeer-listn = 'x'\n");
        assert!(unknown.contains("f.toml, line 3"), "{unknown}");
        assert!(unknown.contains("did you mean peer_listen?"), "{unknown}");
        assert!(said("zzz = 1").contains("docs/CONFIG.md"));
        assert!(said("config = 'x'").contains("no setting"));
        assert!(said("insecure = 'yes'").contains("true or false"));
        assert!(said("seeds = 'a'").contains("a list"));
        assert!(said("name = [1]").contains("must be a text"));
        assert!(said("[listen]\nx = 1").contains("listen must be a text, not table"));
        assert!(said("listen =").contains("f.toml"));
    }

    /// What the documentation lists is what there is, with the same words.
    #[test]
    fn the_table_in_the_documentation_is_in_step() {
        let documented = include_str!("../../../docs/CONFIG.md");
        let mut missing = String::new();
        for arg in settings(&serve()) {
            let row = row(arg);
            if !documented.contains(&row) {
                missing.push_str(&row);
            }
        }
        assert!(missing.is_empty(), "docs/CONFIG.md lacks:\n{missing}");
        let rows = documented.matches("` | `TRILITH_").count();
        assert_eq!(rows, settings(&serve()).count(), "a row too many");
    }

    fn row(arg: &clap::Arg) -> String {
        let id = arg.get_id().as_str();
        let env = arg.get_env().unwrap_or_default().to_str().unwrap();
        let defaults = arg.get_default_values();
        let default = defaults.first().map(|value| value.to_str().unwrap());
        let default = match (arg.get_action(), default) {
            (ArgAction::SetTrue, _) => "`false`".to_owned(),
            (_, Some(value)) => format!("`{value}`"),
            (_, None) => String::new(),
        };
        let long = arg.get_long().unwrap();
        let help = arg.get_help().unwrap().to_string().replace('|', "\\|");
        format!("| `{id}` | `--{long}` | `{env}` | {default} | {help} |\n")
    }

    #[test]
    fn flags_and_environment_go_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        fs::write(&path, "name = 'file'\nlog_level = 'warn'\n").unwrap();
        let given = Cli::command().get_matches_from(["trilith", "serve", "--name", "flag"]);
        let (_, given) = given.subcommand().unwrap();
        assert_eq!(flags(&path, &serve(), given).unwrap(), ["--log-level=warn"]);
        let none = dir.path().join("none.toml");
        let error = flags(&none, &serve(), given).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }), "{error}");
        assert!(Cli::try_parse_from(["trilith", "serve", "--log-level=warn"]).is_ok());
    }
}
