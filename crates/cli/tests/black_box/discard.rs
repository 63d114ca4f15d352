//! What an operator is told who has nothing to drop.

use serde_json::Value;

use crate::support::{Server, data_dir, run, trilith};

#[test]
fn a_healthy_replica_has_nothing_to_drop_and_an_unknown_one_is_refused() {
    let (_dir, data) = data_dir();
    let server = Server::start(&data);
    server.ok(&["topic", "create", "orders"]);
    server.feed(&["produce", "orders"], b"a\nb\n");
    let of_orders = [
        "cluster",
        "discard",
        "--topic",
        "orders",
        "--partition",
        "0",
    ];
    for arguments in [&of_orders[..], &["cluster", "discard", "--controller"]] {
        for yes in [&[][..], &["--yes"]] {
            let said = server.ok(&[arguments, yes].concat());
            assert!(said.starts_with("nothing is doubtful"), "{said}");
        }
    }
    let json = server.ok(&[&of_orders[..], &["--yes", "--output", "json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["role"], &json["done"]),
        (&"leader".into(), &false.into())
    );
    assert!(json["entries"].is_null() && json["unknown_suffix"] == false);
    assert_eq!(server.ok(&["consume", "orders"]), "a\nb\n");

    let mut unknown = of_orders;
    unknown[3] = "none";
    assert!(server.fails(&unknown).contains("no topic \"none\""));
    unknown = of_orders;
    unknown[5] = "7";
    assert!(server.fails(&unknown).contains("not 7"));
    server.stop();
}

#[test]
fn the_node_must_be_named() {
    for endpoints in [&[][..], &["--endpoints", "a:7400,b:7400"]] {
        let mut command = trilith();
        command.args(["cluster", "discard", "--controller", "--yes"]);
        command.args(endpoints);
        let output = run(command, b"");
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("one node alone"), "{said}");
    }
}
