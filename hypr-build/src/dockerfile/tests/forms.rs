//! The second level: what instructions say.

use std::time::Duration;

use super::super::*;

/// The last instruction of a Dockerfile with a stage in front.
fn last(text: &str) -> Instruction {
    let text = format!("FROM scratch\n{text}");
    let dockerfile = parse(&text).unwrap_or_else(|errors| panic!("{}", errors.render("Dockerfile")));
    dockerfile.statements.into_iter().next_back().unwrap().instruction
}

fn texts(values: &[Spanned<String>]) -> Vec<&str> {
    values.iter().map(|value| value.as_str()).collect()
}

fn text(value: &Option<Spanned<String>>) -> Option<&str> {
    value.as_ref().map(|value| value.as_str())
}

#[test]
fn from_names_a_stage_in_any_case() {
    let Instruction::From(from) = last("FROM --platform=$BUILDPLATFORM a/b:1 as Build.1") else { panic!() };
    assert_eq!((&*from.image.value, text(&from.platform)), ("a/b:1", Some("$BUILDPLATFORM")));
    assert_eq!((text(&from.as_keyword), text(&from.name)), (Some("as"), Some("Build.1")));
    assert_eq!(from.stage_name().as_deref(), Some("build.1"));
}

#[test]
fn copy_and_add_have_their_flags() {
    let flags = "--from=b --chown=1:2 --chmod=u+x --link --parents=false --exclude=*.a --exclude=*.b";
    let Instruction::Copy(copy) = last(&format!("COPY {flags} x y /z")) else { panic!() };
    assert_eq!((texts(&copy.sources), &*copy.destination.value), (vec!["x", "y"], "/z"));
    assert_eq!((text(&copy.from), text(&copy.chown), text(&copy.chmod)), (Some("b"), Some("1:2"), Some("u+x")));
    assert_eq!((copy.link, copy.parents, texts(&copy.exclude)), (true, false, vec!["*.a", "*.b"]));
    let flags = "--checksum=sha256:0 --keep-git-dir=TRUE --unpack=false";
    let Instruction::Add(add) = last(&format!("ADD {flags} [\"x y\", \"/z\"]")) else { panic!() };
    assert_eq!((texts(&add.sources), &*add.destination.value), (vec!["x y"], "/z"));
    assert_eq!((text(&add.checksum), add.keep_git_dir, add.unpack), (Some("sha256:0"), true, Some(false)));
    assert!(!add.link);
}

#[test]
fn copied_heredocs_are_no_paths() {
    for line in ["COPY <<A x <<-B /d", "COPY << A x <<-B /d"] {
        let Instruction::Copy(copy) = last(&format!("{line}\n1\nA\n\t2\nB")) else { panic!() };
        assert_eq!(texts(&copy.sources), ["x"], "{line}");
        let bodies: Vec<_> = copy.heredocs.iter().map(|heredoc| (&*heredoc.name, heredoc.body())).collect();
        assert_eq!(bodies, [("A", "1\n".into()), ("B", "2\n".into())], "{line}");
    }
}

#[test]
fn run_becomes_a_script() {
    let script = |text: &str| {
        let Instruction::Run(run) = last(text) else { panic!() };
        match run.script() {
            Script::Shell(line) => format!("shell {line:?}"),
            Script::Exec(arguments) => format!("exec {:?}", texts(arguments)),
            Script::File { name, text } => format!("file {name} {text:?}"),
        }
    };
    for (text, expected) in [
        ("RUN a && b", r#"shell "a && b""#),
        ("RUN [\"a\", \"b c\"]", r#"exec ["a", "b c"]"#),
        ("RUN <<EOF\na\nb\nEOF", r#"shell "a\nb\n""#),
        ("RUN <<-EOF\n\ta\nEOF", r#"shell "a\n""#),
        ("RUN <<EOF\n#!/usr/bin/python3\na\nEOF", "file EOF \"#!/usr/bin/python3\\na\\n\""),
        ("RUN cat <<A <<-B\n1\nA\n\t2\nB", r#"shell "cat <<A <<-B\n1\nA\n\t2\nB""#),
        ("RUN python3 <<'EOF'\na\nEOF", r#"shell "python3 <<'EOF'\na\nEOF""#),
    ] {
        assert_eq!(script(text), expected, "{text:?}");
    }
    let flags = "--mount=type=bind,target=/a --mount='type=secret,id=b' --network=none --security=insecure";
    let Instruction::Run(run) = last(&format!("RUN {flags} c")) else { panic!() };
    assert_eq!(texts(&run.mounts), ["type=bind,target=/a", "type=secret,id=b"]);
    assert_eq!((text(&run.network), text(&run.security)), (Some("none"), Some("insecure")));
}

#[test]
fn healthchecks_have_options() {
    let flags = "--interval=1m30s --timeout=500ms --start-period=0s --start-interval=2s --retries=3";
    let Instruction::Healthcheck(found) = last(&format!("HEALTHCHECK {flags} CMD curl x")) else { panic!() };
    let Healthcheck::Cmd(Command::Shell(line), options) = found else { panic!() };
    assert_eq!(line.value, "curl x");
    let expected = HealthcheckOptions {
        interval: Some(Duration::from_secs(90)),
        timeout: Some(Duration::from_millis(500)),
        start_period: Some(Duration::ZERO),
        start_interval: Some(Duration::from_secs(2)),
        retries: Some(3),
    };
    assert_eq!(options, expected);
    assert_eq!(last("HEALTHCHECK None"), Instruction::Healthcheck(Healthcheck::None));
}

#[test]
fn onbuild_keeps_the_instruction_as_text_and_as_tree() {
    let Instruction::Onbuild(onbuild) = last("ONBUILD  COPY \\\n <<A /b\n$c\nA") else { panic!() };
    assert_eq!(onbuild.trigger, "COPY  <<A /b\n$c\nA");
    assert_eq!(onbuild.instruction.heredocs()[0].text, "$c\n");
    let again = parse_trigger(&onbuild.trigger).unwrap();
    assert_eq!(again.statements[0].instruction, *onbuild.instruction);
}

#[test]
fn arguments_and_pairs_keep_their_quotes() {
    let Instruction::Arg(arg) = last("ARG a b= c=\"d e\"") else { panic!() };
    let found: Vec<_> = arg.declarations.iter().map(|found| (&*found.name.value, text(&found.default))).collect();
    assert_eq!(found, [("a", None), ("b", Some("")), ("c", Some("\"d e\""))]);
    let Instruction::Env(env) = last("ENV a b c") else { panic!() };
    assert!(env.legacy);
    assert_eq!((&*env.pairs[0].key.value, &*env.pairs[0].value.value), ("a", "b c"));
}

#[test]
fn comments_above_an_instruction_belong_to_it() {
    let text = "# syntax=x\n# first\nARG a\n# lost\n#\n# build it\n# twice\n\nFROM b\nRUN c";
    let dockerfile = parse(text).unwrap();
    let comments: Vec<_> = dockerfile.statements.iter().map(|statement| statement.comments.join("|")).collect();
    assert_eq!(comments, ["first", "build it|twice", ""]);
    assert_eq!(text_of(&dockerfile.directives.syntax), Some("x"));
}

fn text_of(value: &Option<Spanned<String>>) -> Option<&str> {
    text(value)
}

#[test]
fn spans_point_at_what_was_read() {
    let text = "FROM a\nRUN --network=none \\\n  b c\nENV x=1 \\\n  y=2\nCOPY <<E /f\n1\nE\nSHELL [\"s\",\n";
    let dockerfile = parse(&text[..text.find("SHELL").unwrap()]).unwrap();
    let slice = |span| dockerfile.source.slice(span);
    let [from, run, env, copy] = &*dockerfile.statements else { panic!() };
    assert_eq!((slice(from.span), from.text.as_str()), ("FROM a", "FROM a"));
    assert_eq!(slice(run.span), "RUN --network=none \\\n  b c");
    assert_eq!(run.text, "RUN --network=none   b c");
    let Instruction::Run(inner) = &run.instruction else { panic!() };
    assert_eq!(slice(inner.network.as_ref().unwrap().span), "--network=none");
    let Command::Shell(line) = &inner.command else { panic!() };
    assert_eq!(slice(line.span), "b c");
    let Instruction::Env(env) = &env.instruction else { panic!() };
    assert_eq!(slice(env.pairs[1].value.span), "2");
    assert_eq!(slice(copy.span), "COPY <<E /f\n1\nE");
    assert_eq!(slice(copy.instruction.heredocs()[0].span), "1\n");
    assert_eq!(dockerfile.source.position(line.span.start), Position { line: 3, column: 3 });
}
