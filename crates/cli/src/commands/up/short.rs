//! A line of a node's log, in short.

use serde_json::Value;

/// Characters of a line that is shown; the log file has all of it.
const SHOWN_MAX: usize = 160;

/// Connections between the nodes come and go, and each side tells of each. Of that the log files
/// have more than anyone watches.
const QUIET: &str = "trilith_transport";

/// What is shown of a line that a node logs as JSON; nothing of what only the log file is for.
/// Other lines, such as what a panic says, are shown as they are.
pub(super) fn short(line: &str) -> Option<String> {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        return Some(cut(line.to_owned()));
    };
    fields.remove("timestamp");
    let target = fields.remove("target");
    let is_quiet = |target: &str| target.starts_with(QUIET);
    if target
        .as_ref()
        .and_then(Value::as_str)
        .is_some_and(is_quiet)
    {
        return None;
    }
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let level = text(fields.remove("level"));
    let message = text(fields.remove("message"));
    let mut shown = match level.as_str() {
        "INFO" => message,
        other => format!("{other} {message}"),
    };
    for (name, value) in fields {
        shown += &format!(" {name}={}", text(Some(value)));
    }
    Some(cut(shown))
}

fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(SHOWN_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_with_its_fields_and_its_level_unless_that_is_usual() {
        let line = |level: &str| {
            format!(
                r#"{{"timestamp":"2026","level":"{level}","message":"serving","target":"t","local_addr":"127.0.0.1:1","n":7}}"#
            )
        };
        assert_eq!(
            short(&line("INFO")).unwrap(),
            "serving local_addr=127.0.0.1:1 n=7"
        );
        assert_eq!(
            short(&line("WARN")).unwrap(),
            "WARN serving local_addr=127.0.0.1:1 n=7"
        );
        let quiet = line("WARN").replace(r#""t""#, r#""trilith_transport::peers""#);
        assert_eq!(short(&quiet), None);
    }

    #[test]
    fn what_is_no_json_is_shown_and_what_is_long_is_cut() {
        assert_eq!(
            short("thread 'main' panicked").unwrap(),
            "thread 'main' panicked"
        );
        assert_eq!(
            short(&"ä".repeat(500)).unwrap().chars().count(),
            SHOWN_MAX + 1
        );
    }
}
