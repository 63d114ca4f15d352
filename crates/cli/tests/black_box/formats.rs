//! What is printed, and what is refused as usage.

use crate::support::{Server, data_dir, run, succeed, text, trilith};

#[test]
fn patterns_show_the_parts_of_a_record() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    let line = r#"{"key":"k","value":"v","timestamp_ms":7,"headers":[{"name":"h","value":"1"}]}"#;
    server.feed(&["produce", "t", "--input", "json"], line.as_bytes());
    let shown = server.ok(&[
        "consume",
        "t",
        "--output",
        "%t/%p/%o %T %k[%K]=%s[%S] %h 100%%\\n",
    ]);
    assert_eq!(shown, "t/0/0 7 k[1]=v[1] h=1 100%\n");
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_how() {
    let wrong: [(&[&str], &str); 6] = [
        (&["consume", "t", "--output", "yaml"], "value, json"),
        (&["consume", "t", "--from", "middle"], "start, end"),
        (&["topic", "create", "t", "--segment-bytes", "big"], "64MiB"),
        (&["topic", "alter", "t"], "at least one setting"),
        (
            &["produce", "t", "--input", "json", "--key-delimiter", ":"],
            "lines only",
        ),
        (&["--frobnicate"], "--help"),
    ];
    for (arguments, hint) in wrong {
        let mut command = trilith();
        command.args(arguments);
        let output = run(command, b"");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}

#[test]
fn help_and_completions_are_there() {
    let mut help = trilith();
    help.args(["consume", "--help"]);
    assert!(text(&succeed(help, b"")).contains("trilith consume orders --follow"));
    let mut completions = trilith();
    completions.args(["completions", "bash"]);
    assert!(text(&succeed(completions, b"")).contains("_trilith"));
}

#[test]
fn a_bad_line_is_named_and_what_stands_before_it_is_written() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "t"]);
    let input = b"\n{\"value\":\"good\"}\nnot json\n{\"value\":\"never\"}\n";
    let output = run(server.command(["produce", "t", "--input", "json"]), input);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("standard input, line 3") && said.contains("1 record acknowledged"),
        "{said}"
    );
    assert_eq!(server.ok(&["consume", "t"]), "good\n");
}
