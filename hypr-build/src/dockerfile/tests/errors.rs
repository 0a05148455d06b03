//! What is said of bad Dockerfiles.

use insta::assert_snapshot;

use super::super::*;

fn render(text: &str) -> String {
    parse(text).unwrap_err().render("Dockerfile")
}

#[test]
fn several_errors_are_shown_with_their_lines_and_hints() {
    let text = "FROM a\nCOPPY . /src\nRUN --mout=type=cache b\nENV a=b c\nWORKDIR\nHEALTHCHECK --retries=x CMD d\n";
    assert_snapshot!(render(text), @r#"
    Dockerfile:2:1: unknown instruction `COPPY`
      |
    2 | COPPY . /src
      | ^^^^^
      = help: did you mean `COPY`?

    Dockerfile:3:5: unknown flag `--mout` of RUN
      |
    3 | RUN --mout=type=cache b
      |     ^^^^^^^^^^^^^^^^^
      = help: did you mean `--mount`?

    Dockerfile:4:9: `c` is not of the form name=value
      |
    4 | ENV a=b c
      |         ^
      = help: put a value with blanks in double quotes

    Dockerfile:5:1: WORKDIR requires exactly one argument
      |
    5 | WORKDIR
      | ^^^^^^^

    Dockerfile:6:13: invalid value `x` of flag `--retries`: it must be a number and not negative
      |
    6 | HEALTHCHECK --retries=x CMD d
      |             ^^^^^^^^^^^
    "#);
    let line = parse(text).unwrap_err().to_string();
    assert_eq!(line, "line 2: unknown instruction `COPPY` (did you mean `COPY`?), and 4 more errors");
}

#[test]
fn errors_in_continued_lines_point_into_the_right_line() {
    assert_snapshot!(render("FROM a\nCOPY --from=b \\\n  # comment\n\t--chmood=1 \\\n  c d\n"), @r#"
    Dockerfile:4:2: unknown flag `--chmood` of COPY
      |
    4 |  --chmood=1 \
      |  ^^^^^^^^^^
      = help: did you mean `--chmod`?
    "#);
}

#[test]
fn long_lines_are_cut_around_the_fault() {
    let text = format!("FROM a\nENV {}x{}\n", "a=b ".repeat(100), " c=d".repeat(100));
    assert_snapshot!(render(&text), @r#"
    Dockerfile:2:405: `x` is not of the form name=value
      |
    2 | …a=b a=b a=b a=b a=b a=b a=b a=b a=b a=b a=b a=b a=b a=b a=b a=b a=b a=b a=b a=b x c=d c=d c=d c=d c=d c=d c=d c=d c=d c=…
      |                                                                                  ^
      = help: put a value with blanks in double quotes
    "#);
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let shown = render("FROM a\n\u{1b}[31mRUN b\u{7}\n");
    assert!(!shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
}

#[test]
fn each_fault_has_a_message() {
    for (text, expected) in [
        ("", "line 1: file with no instructions"),
        ("# only a comment\n", "line 1: file with no instructions"),
        ("ARG a\n", "line 1: no FROM instruction"),
        ("ARG a\nRUN b\nFROM c", "line 2: RUN stands before the first FROM"),
        ("# syntax=a\n# syntax=b\nFROM c", "line 2: only one `syntax` parser directive can be used"),
        ("# escape=x\nFROM c", "line 1: invalid escape character `x`: it must be ` or \\"),
        ("FOO bar", "line 1: unknown instruction `FOO`"),
        ("FROM", "line 1: FROM requires either one or three arguments"),
        ("FROM a b", "line 1: FROM requires either one or three arguments"),
        ("FROM a AS 1x", "line 1: invalid stage name `1x`"),
        ("FROM a\nRUN", "line 2: RUN requires a command"),
        ("FROM a\nRUN []", "line 2: RUN requires a command"),
        ("FROM a\nCMD [\"a\", 1]", "line 2: the JSON form takes an array of strings only"),
        ("FROM a\nCMD [[\"a\"]]", "line 2: the JSON form takes an array of strings only"),
        ("FROM a\nCOPY b", "line 2: COPY requires at least two arguments"),
        ("FROM a\nCOPY b <<E\nE", "line 2: COPY cannot take a heredoc as its destination"),
        ("FROM a\nCOPY --link=maybe b c", "line 2: invalid value `maybe` of flag `--link`: it must be true or false"),
        ("FROM a\nCOPY --from b c", "line 2: flag `--from` needs a value"),
        ("FROM a\nCOPY --chown=1 --chown=2 b c", "line 2: flag `--chown` is given twice"),
        ("FROM a\nUSER --x b", "line 2: unknown flag `--x` of USER"),
        ("FROM a\nENV", "line 2: ENV requires at least one argument"),
        ("FROM a\nENV b", "line 2: ENV requires two arguments"),
        ("FROM a\nENV =b", "line 2: ENV names cannot be blank"),
        ("FROM a\nLABEL b=c d", "line 2: `d` is not of the form name=value"),
        ("FROM a\nARG", "line 2: ARG requires at least one argument"),
        ("FROM a\nARG =b", "line 2: ARG names cannot be blank"),
        ("FROM a\nEXPOSE", "line 2: EXPOSE requires at least one argument"),
        ("FROM a\nUSER", "line 2: USER requires exactly one argument"),
        ("FROM a\nVOLUME [\" \"]", "line 2: VOLUME path cannot be empty"),
        ("FROM a\nSHELL a b", "line 2: SHELL requires the JSON form"),
        ("FROM a\nSHELL []", "line 2: SHELL requires at least one argument"),
        ("FROM a\nONBUILD", "line 2: ONBUILD requires an instruction"),
        ("FROM a\nONBUILD ONBUILD RUN b", "line 2: ONBUILD is not allowed as an ONBUILD trigger"),
        ("FROM a\nONBUILD from b", "line 2: FROM is not allowed as an ONBUILD trigger"),
        ("FROM a\nONBUILD FOO b", "line 2: unknown instruction `FOO`"),
        ("FROM a\nONBUILD RUN --x b", "line 2: unknown flag `--x` of RUN"),
        ("FROM a\nHEALTHCHECK", "line 2: HEALTHCHECK requires at least one argument"),
        ("FROM a\nHEALTHCHECK NONE b", "line 2: HEALTHCHECK requires no arguments after NONE"),
        ("FROM a\nHEALTHCHECK CMD", "line 2: HEALTHCHECK requires a command after CMD"),
        ("FROM a\nHEALTHCHECK b", "line 2: unknown type `b` of HEALTHCHECK"),
        (
            "FROM a\nHEALTHCHECK --timeout=1us CMD b",
            "line 2: invalid value `1us` of flag `--timeout`: it cannot be less than 1ms",
        ),
        ("FROM a\nRUN <<E\nb", "line 2: unterminated heredoc `E`"),
        ("FROM a\nRUN b\0", "line 2: NUL byte in the Dockerfile"),
    ] {
        let errors = parse(text).unwrap_err();
        let error = errors.iter().next().unwrap();
        assert_eq!(format!("line {}: {}", error.position().line, error.kind()), expected, "{text:?}");
        assert_eq!(errors.count(), 1, "{text:?}: {errors:?}");
    }
}

#[test]
fn a_misspelt_instruction_is_named_and_takes_its_heredoc_along() {
    let errors = parse("FORM a\nRUNN <<EOF\nnot an instruction\nEOF\n").unwrap_err();
    let hints: Vec<_> = errors.iter().map(|error| error.hint().unwrap()).collect();
    assert_eq!(hints, ["did you mean `FROM`?", "did you mean `RUN`?"]);
}

#[test]
fn bytes_that_are_no_text_are_placed() {
    let errors = parse_bytes(b"FROM a\nRUN \xff\n").unwrap_err();
    assert_snapshot!(errors.render("Dockerfile"), @r#"
    Dockerfile:2:5: the file is not valid UTF-8
      |
    2 | RUN
      |     ^
    "#);
}

#[test]
fn many_errors_are_counted_but_not_all_shown() {
    let errors = parse(&"BAD\n".repeat(1000)).unwrap_err();
    assert_eq!((errors.count(), errors.iter().count()), (1000, 20));
    assert!(errors.render("Dockerfile").ends_with("\nand 980 more errors\n"));
}
