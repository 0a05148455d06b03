//! The first level: instructions as words.

use super::super::*;

/// The instructions as `NAME [flags] "arg"...`.
fn dump(text: &str) -> Vec<String> {
    let syntax = parse_syntax(text).unwrap_or_else(|errors| panic!("{}", errors.render("Dockerfile")));
    syntax
        .instructions
        .iter()
        .map(|instruction| {
            let flags: String = instruction.flags.iter().map(|flag| format!(" [{flag}]")).collect();
            let args: String = instruction.args.iter().map(|arg| format!(" {arg:?}")).collect();
            format!("{}{flags}{args}", instruction.name)
        })
        .collect()
}

#[test]
fn arguments_are_cut_by_the_rules_of_the_instruction() {
    for (text, expected) in [
        ("FROM a AS b", r#"FROM "a" "AS" "b""#),
        ("from  a", r#"FROM "a""#),
        ("RUN echo  a \"b c\"", r#"RUN "echo  a \"b c\"""#),
        ("RUN [\"echo\", \"a\\tb\"]", r#"RUN "echo" "a\tb""#),
        ("RUN [ -f x ]", r#"RUN "[ -f x ]""#),
        ("RUN ['single']", r#"RUN "['single']""#),
        ("RUN [\"a\"] && b", r#"RUN "[\"a\"] && b""#),
        ("CMD []", "CMD"),
        ("ENTRYPOINT [\"a\"", r#"ENTRYPOINT "[\"a\"""#),
        ("COPY a\tb  /c/", r#"COPY "a" "b" "/c/""#),
        ("COPY [\"a b\", \"/c\"]", r#"COPY "a b" "/c""#),
        ("ADD --chown=1:2 --link -- a b", r#"ADD [--chown=1:2] [--link] "a" "b""#),
        ("COPY --unknown='x y' a b", r#"COPY [--unknown='x y'] "a" "b""#),
        ("CMD --doit [ \"a\", \"b\" ]", r#"CMD [--doit] "a" "b""#),
        ("ENV a=1 b=\"x y\" c='d' e=f\\ g", r#"ENV "a" "1" "b" "\"x y\"" "c" "'d'" "e" "f\\ g""#),
        ("ENV a b  c=d ", r#"ENV "a" "b  c=d""#),
        ("ENV a  b", r#"ENV "a" "b""#),
        ("ENV a=", r#"ENV "a" """#),
        ("ENV a=b=c", r#"ENV "a" "b=c""#),
        ("LABEL \"a.b\"=\"c d\" e=f", r#"LABEL "\"a.b\"" "\"c d\"" "e" "f""#),
        ("ARG a b=c d=\"e f\"", r#"ARG "a" "b=c" "d=\"e f\"""#),
        ("EXPOSE 80 443/tcp", r#"EXPOSE "80" "443/tcp""#),
        ("VOLUME /a /b", r#"VOLUME "/a" "/b""#),
        ("VOLUME [\"/a b\"]", r#"VOLUME "/a b""#),
        ("WORKDIR /a b", r#"WORKDIR "/a b""#),
        ("USER me", r#"USER "me""#),
        ("STOPSIGNAL SIGTERM", r#"STOPSIGNAL "SIGTERM""#),
        ("MAINTAINER me <me@x>", r#"MAINTAINER "me <me@x>""#),
        ("SHELL [\"/bin/sh\", \"-c\"]", r#"SHELL "/bin/sh" "-c""#),
        ("HEALTHCHECK none", r#"HEALTHCHECK "none""#),
        ("HEALTHCHECK --interval=5s CMD a b", r#"HEALTHCHECK [--interval=5s] "CMD" "a b""#),
        ("HEALTHCHECK CMD [\"a\", \"b\"]", r#"HEALTHCHECK "CMD" "a" "b""#),
        ("ONBUILD RUN a  b", r#"ONBUILD "RUN" "a  b""#),
        ("ONBUILD COPY --from=x a b", r#"ONBUILD [--from=x] "COPY" "a" "b""#),
        ("RUN", "RUN"),
        ("RUN\u{a0}x", ""),
    ] {
        if expected.is_empty() {
            assert!(parse_syntax(text).is_err(), "{text:?}");
        } else {
            assert_eq!(dump(text), [expected], "{text:?}");
        }
    }
}

#[test]
fn lines_continue_over_comments_and_blank_lines() {
    for (text, expected) in [
        ("RUN a \\\n  b", r#"RUN "a   b""#),
        ("RUN a \\  \t\n  b", r#"RUN "a   b""#),
        ("RUN a \\\r\n  b\r\n", r#"RUN "a   b""#),
        ("RUN a \\\n# comment\n   # indented \\\n b", r#"RUN "a  b""#),
        ("RUN a \\\n\n\n \n b", r#"RUN "a  b""#),
        ("RUN a # no comment \\\n b", r#"RUN "a # no comment  b""#),
        ("RUN a \\\\", r#"RUN "a \\\\""#),
        ("RUN a \\", r#"RUN "a""#),
        ("RUN a \\\n# the end", r#"RUN "a""#),
        ("\\\nRUN a", r#"RUN "a""#),
        ("RU\\\nN a", r#"RUN "a""#),
        ("  # comment\n\tRUN a", r#"RUN "a""#),
        ("\u{feff}RUN a", r#"RUN "a""#),
        ("# escape=`\nRUN a `\n b\\", r#"RUN "a  b\\""#),
        ("# syntax=x\n# escape=`\nRUN a`\n b", r#"RUN "a b""#),
        ("# comment\n# escape=`\nRUN a\\\n b", r#"RUN "a b""#),
        ("\n# escape=`\nRUN a\\\n b", r#"RUN "a b""#),
        ("# escape=`\nENV A=b` c D=e\\", r#"ENV "A" "b` c" "D" "e\\""#),
    ] {
        assert_eq!(dump(text), [expected], "{text:?}");
    }
    let dockerfile = parse("FROM a\nRUN b \\\n\n c \\\n\n d\nRUN e \\\n# f\n g").unwrap();
    assert_eq!(dockerfile.empty_continuations, [Span::new(15, 16)]);
}

#[test]
fn heredocs_are_taken_where_they_may_stand() {
    let heredocs = |text: &str| -> Vec<(String, String, bool)> {
        let syntax = parse_syntax(text).unwrap_or_else(|errors| panic!("{}", errors.render("Dockerfile")));
        let heredocs = syntax.instructions.into_iter().flat_map(|instruction| instruction.heredocs);
        heredocs.map(|heredoc| (heredoc.name, heredoc.text, heredoc.expand)).collect()
    };
    for (text, expected) in [
        ("RUN <<EOF\nEOF", &[("EOF", "", true)][..]),
        ("RUN <<EOF\n a\n\n# b \\\nEOF\n", &[("EOF", " a\n\n# b \\\n", true)]),
        ("RUN <<'EOF'\n$a\nEOF", &[("EOF", "$a\n", false)]),
        ("RUN <<-\"EOF\"\n\t\ta\n\tb\n\tEOF", &[("EOF", "a\nb\n", false)]),
        ("COPY <<X <<Y /d\nY\nX\nX\nY\n", &[("X", "Y\n", true), ("Y", "X\n", true)]),
        ("ADD <<a.txt b /c\nd\na.txt", &[("a.txt", "d\n", true)]),
        ("RUN 3<<EOF cat\nEOF", &[("EOF", "", true)]),
        ("RUN <<eo'f'\na\neof", &[("eof", "a\n", false)]),
        ("RUN <<'one two'\na\none two", &[("one two", "a\n", false)]),
        ("RUN <<  EOF  > f\nEOF", &[("EOF", "", true)]),
        ("RUN --mount=type=cache,target=/x <<EOF\na\nEOF", &[("EOF", "a\n", true)]),
        ("RUN a \\\n <<EOF\nb\nEOF", &[("EOF", "b\n", true)]),
        ("ONBUILD RUN <<EOF\na\nEOF", &[("EOF", "a\n", true)]),
        ("RUN <<EOF\r\na\r\nEOF\r\n", &[("EOF", "a\r\n", true)]),
        ("RUN [\"<<EOF\"]", &[]),
        ("RUN \"<<EOF\"", &[]),
        ("RUN echo it's <<EOF", &[]),
        ("RUN cat <<<EOF", &[]),
        ("USER <<EOF", &[]),
    ] {
        let found = heredocs(text);
        let found: Vec<_> = found.iter().map(|(name, text, expand)| (&**name, &**text, *expand)).collect();
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn lines_count_from_one_and_include_what_belongs_to_the_instruction() {
    let text = "# syntax=x\n\nFROM a\nRUN b \\\n # c\n  d\nCOPY <<E /f\n1\nE\nUSER g";
    let syntax = parse_syntax(text).unwrap();
    let lines: Vec<_> = syntax.instructions.iter().map(|found| (&*found.name, found.line, found.end_line)).collect();
    assert_eq!(lines, [("FROM", 3, 3), ("RUN", 4, 6), ("COPY", 7, 9), ("USER", 10, 10)]);
}
