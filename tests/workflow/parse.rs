//! `hypr parse`.

use std::fs;

use hypr_tests::World;
use serde_json::json;

#[test]
fn instructions_are_printed_as_they_were_read() {
    let world = World::new();
    let file = world.path("Dockerfile");
    fs::write(
        &file,
        "# syntax=docker/dockerfile:1\nfrom scratch as a\nRUN --mount=type=cache,target=/c \\\n  # a comment\n  echo \"a  b\" && true\n\
         COPY --from=x --chown=1:2 [\"a b\", \"c\"]\nENV A=1 B=\"2 3\"\nRUN <<EOF\necho $x\nEOF\nCOPY <<-'one' two /\n\t1\n\tone\n",
    )
    .unwrap();
    let parsed = world.hypr(["parse"]).args([&file]).ok().json();
    let instructions = parsed["instructions"].as_array().expect("a list");
    let names: Vec<_> =
        instructions.iter().map(|instruction| instruction["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(
        names.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>(),
        ["FROM", "RUN", "COPY", "ENV", "RUN", "COPY"]
    );
    let lines: Vec<_> = instructions.iter().map(|i| (i["line"].as_u64(), i["end_line"].as_u64())).collect();
    let expected = [(2, 2), (3, 5), (6, 6), (7, 7), (8, 10), (11, 13)];
    assert_eq!(lines, expected.map(|(start, end)| (Some(start), Some(end))));
    assert_eq!(instructions[0]["args"], json!(["scratch", "as", "a"]));
    assert_eq!(instructions[1]["flags"], json!(["--mount=type=cache,target=/c"]));
    assert_eq!(instructions[1]["args"], json!(["echo \"a  b\" && true"]));
    assert_eq!(instructions[2]["flags"], json!(["--from=x", "--chown=1:2"]));
    assert_eq!(instructions[2]["args"], json!(["a b", "c"]));
    assert_eq!(instructions[4]["heredocs"], json!([{ "name": "EOF", "text": "echo $x\n", "expand": true }]));
    assert_eq!(instructions[5]["heredocs"], json!([{ "name": "one", "text": "1\n", "expand": false }]));
    assert_eq!(instructions[0]["heredocs"], json!([]));
}

#[test]
fn syntax_alone_counts() {
    let world = World::new();
    let file = world.path("fragment");
    fs::write(&file, "RUN echo no FROM above\n").unwrap();
    let parsed = world.hypr(["parse"]).args([&file]).ok().json();
    assert_eq!(parsed["instructions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_error_has_file_line_column_text_and_caret() {
    let world = World::new();
    let file = world.path("Bad");
    fs::write(&file, "FROM scratch\n  COPPY a b\n").unwrap();
    let finished = world.hypr(["parse"]).args([&file]).fails(1);
    let error = finished.error();
    for part in ["Bad:2:3", "COPPY a b", "^", "COPY"] {
        assert!(error.contains(part), "{part:?} is missing\n{finished}");
    }
    assert_eq!(finished.out(), "");
    let error = world.hypr(["parse", "/no/such/file"]).fails(1).error();
    assert!(error.contains("/no/such/file"), "{error}");
}

#[test]
fn hostile_files_end_in_an_error_or_a_result_but_never_in_a_panic() {
    let world = World::new();
    let file = world.path("Dockerfile");
    let deep = format!("ENV A={}{}\n", "${B:-".repeat(50_000), "}".repeat(50_000));
    let cases: [&[u8]; 8] = [
        b"\xff\xfe\x00\x01",
        b"FROM a\x00b\n",
        b"FROM scratch\nRUN <<A <<A <<A\n",
        b"\\\n\\\n\\\n",
        b"# escape=x\nFROM scratch\n",
        b"\xef\xbb\xbfFROM scratch\r\nENV A=1\r\n",
        b"FROM scratch\nCMD [\"unclosed\n",
        deep.as_bytes(),
    ];
    for case in cases {
        fs::write(&file, case).unwrap();
        let finished = world.hypr(["parse"]).args([&file]).run();
        assert!(matches!(finished.status.code(), Some(0 | 1)), "{finished}");
        if finished.status.success() {
            finished.json();
        } else {
            finished.error();
        }
    }
}
