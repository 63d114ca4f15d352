//! A line of a node's log, in short.

use serde_json::Value;

/// Characters of a line that is shown; the log file has all of it.
const SHOWN_MAX: usize = 160;

/// What is shown of a line that a node logs as JSON. Other lines, such as what a panic says, are
/// shown as they are.
pub(super) fn short(line: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        return cut(line.to_owned());
    };
    fields.remove("timestamp");
    fields.remove("target");
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
    cut(shown)
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
        assert_eq!(short(&line("INFO")), "serving local_addr=127.0.0.1:1 n=7");
        assert_eq!(
            short(&line("WARN")),
            "WARN serving local_addr=127.0.0.1:1 n=7"
        );
    }

    #[test]
    fn what_is_no_json_is_shown_and_what_is_long_is_cut() {
        assert_eq!(short("thread 'main' panicked"), "thread 'main' panicked");
        assert_eq!(short(&"ä".repeat(500)).chars().count(), SHOWN_MAX + 1);
    }
}
