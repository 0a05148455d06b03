//! Plans of small Dockerfiles.

use std::collections::BTreeMap;

use super::*;
use crate::{
    dockerfile,
    lint::{Collector, Settings},
};

/// A build request with everything at its default.
#[derive(Default)]
struct Case<'a> {
    args: &'a [(&'a str, &'a str)],
    target: Option<&'a str>,
    contexts: &'a [(&'a str, ContextKind)],
    images: &'a [(&'a str, ImageConfig)],
    ignore: Option<&'a Ignore>,
    all_stages: bool,
}

impl Case<'_> {
    fn outcome(&self, text: &str) -> Result<Outcome, Vec<PlanError>> {
        self.linted(text, &Collector::default())
    }

    fn linted(&self, text: &str, lint: &Collector) -> Result<Outcome, Vec<PlanError>> {
        let dockerfile = dockerfile::parse(text).unwrap_or_else(|error| panic!("{text:?} does not parse: {error}"));
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let platform = Platform::from_parts("linux", "amd64", "");
        let contexts = self.contexts.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let images = self.images.iter().map(|(name, config)| {
            (ImageRequest { name: (*name).to_owned(), platform: platform.clone() }, config.clone())
        });
        let request = Request {
            dockerfile: &dockerfile,
            args: &self.args.iter().map(own).collect(),
            target: self.target,
            platform: &platform,
            build_platform: &Platform::from_parts("linux", "arm64", ""),
            contexts: &contexts,
            labels: &BTreeMap::new(),
            cache: &CacheUse::All,
            network: Network::None,
            lint,
            ignore: self.ignore,
            all_stages: self.all_stages,
            unknown: &BTreeSet::new(),
        };
        plan(&request, &images.collect())
    }

    fn plan(&self, text: &str) -> Plan {
        match self.outcome(text) {
            Ok(Outcome::Ready(plan)) => *plan,
            other => panic!("{text:?} gives {other:?}"),
        }
    }

    fn problem(&self, text: &str) -> Problem {
        match self.outcome(text) {
            Err(mut errors) => errors.remove(0).problem,
            Ok(outcome) => panic!("{text:?} gives {outcome:?}"),
        }
    }
}

fn plan_of(text: &str) -> Plan {
    Case::default().plan(text)
}

/// The commands of the graph in order.
fn commands(plan: &Plan) -> Vec<&str> {
    runs(plan).into_iter().filter_map(|run| run.args.last().map(String::as_str)).collect()
}

fn runs(plan: &Plan) -> Vec<&Run> {
    plan.graph
        .steps
        .iter()
        .filter_map(|step| match &step.operation {
            Operation::Run(run) => Some(run),
            _ => None,
        })
        .collect()
}

fn value<'p>(run: &'p Run, name: &str) -> Option<&'p str> {
    run.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn stages_nobody_needs_are_not_in_the_graph() {
    let text =
        "FROM scratch AS docs\nRUN docs\nFROM scratch AS lib\nRUN lib\nFROM scratch\nCOPY --from=lib /a /b\nRUN app";
    assert_eq!(commands(&plan_of(text)), ["lib", "app"]);
    assert_eq!(commands(&Case { target: Some("DOCS"), ..Case::default() }.plan(text)), ["docs"]);
    assert_eq!(commands(&Case { target: Some("1"), ..Case::default() }.plan(text)), ["lib"]);
}

#[test]
fn a_base_image_is_asked_for_once_and_by_its_line() {
    let text = "ARG V=1\nFROM base:$V AS a\nFROM base:${V}\nCOPY --from=a / /\nCOPY --from=other:2 / /";
    let Ok(Outcome::Needs(wanted)) = Case::default().outcome(text) else { panic!("the configurations are unknown") };
    let wanted: Vec<_> = wanted.iter().map(|(request, line)| (request.name.as_str(), *line)).collect();
    assert_eq!(wanted, [("base:1", 3), ("other:2", 5)]);
}

#[test]
fn env_hides_arg_and_both_reach_the_process() {
    let case = Case { args: &[("A", "given"), ("UNDECLARED", "x"), ("http_proxy", "p")], ..Case::default() };
    let plan = case.plan("FROM scratch\nARG A=default\nARG B=b\nARG C\nENV B=env D=$A$B\nRUN x");
    let run = runs(&plan)[0];
    for (name, expected) in [
        ("A", Some("given")),
        ("B", Some("env")),
        ("C", None),
        ("D", Some("givenb")),
        ("UNDECLARED", None),
        ("http_proxy", None),
        ("PATH", Some(shell::DEFAULT_PATH)),
    ] {
        assert_eq!(value(run, name), expected, "{name}");
    }
    assert_eq!(run.unkeyed, [("http_proxy".to_owned(), "p".to_owned())]);
}

#[test]
fn faults_of_mounts_and_sources_are_told_with_all_others_before_an_image_is_wanted() {
    let text = "FROM base\nRUN --mount=type=cach,target=/x a\nRUN --mount=type=bind,target=/x,foo=1 b\n\
                COPY --from=$x a b\nCOPY --from=9 a b\nEXPOSE 99999\nSTOPSIGNAL NOPE\nCOPY --chmod=999 a b";
    let errors = Case::default().outcome(text).unwrap_err();
    let source = dockerfile::parse(text).unwrap().source;
    let lines: Vec<usize> = errors.iter().map(|error| source.line(error.span.unwrap().start)).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8], "{errors:?}");
}

#[test]
fn a_proxy_that_is_declared_is_an_argument_as_any_other() {
    let case = Case { args: &[("http_proxy", "p"), ("https_proxy", "s")], ..Case::default() };
    let plan = case.plan("FROM scratch\nARG http_proxy\nRUN x");
    let run = runs(&plan)[0];
    assert_eq!(value(run, "http_proxy"), Some("p"));
    assert_eq!(run.unkeyed, [("https_proxy".to_owned(), "s".to_owned())]);
}

#[test]
fn of_env_and_arg_the_later_one_counts() {
    let plan = plan_of(
        "FROM scratch AS base\nENV A=env B=env PATH=/p\nARG A=arg\nARG B=arg\nARG C\nENV B=last C=$A\nARG B\nARG PATH=/q\n\
         FROM base\nENV D=$A$B\nRUN x",
    );
    let run = runs(&plan)[0];
    for (name, expected) in [("A", "arg"), ("B", "last"), ("C", "arg"), ("D", "arglast"), ("PATH", "/q")] {
        assert_eq!(value(run, name), Some(expected), "{name}");
    }
    assert_eq!(plan.config.config.env[..3], ["PATH=/p", "A=env", "B=last"]);
}

#[test]
fn values_of_one_env_see_what_was_before_it() {
    let plan = plan_of("FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc");
    assert_eq!(plan.config.config.env("def"), Some("hello"));
    assert_eq!(plan.config.config.env("ghi"), Some("bye"));
}

#[test]
fn globals_are_seen_by_from_and_by_arg_without_a_value() {
    let plan = plan_of("ARG V=7\nFROM scratch\nRUN a$V\nARG V\nRUN b");
    let runs = runs(&plan);
    assert_eq!(value(runs[0], "V"), None);
    assert_eq!(value(runs[1], "V"), Some("7"));
}

#[test]
fn a_child_stage_inherits_the_configuration_and_the_arguments() {
    let plan = plan_of("FROM scratch AS a\nARG X=1\nENV E=1\nWORKDIR /w\nUSER 7\nFROM a\nRUN x");
    let run = *runs(&plan).last().unwrap();
    assert_eq!((value(run, "E"), value(run, "X")), (Some("1"), Some("1")));
    assert_eq!((run.cwd.as_str(), run.user.as_str()), ("/w", "7"));
}

#[test]
fn entrypoint_clears_an_inherited_cmd_and_not_its_own() {
    let mut base = ImageConfig::default();
    base.config.cmd = vec!["base".into()];
    let images = [("base", base)];
    let case = Case { images: &images, ..Case::default() };
    assert!(case.plan("FROM base\nENTRYPOINT [\"x\"]").config.config.cmd.is_empty());
    assert_eq!(case.plan("FROM base\nCMD [\"own\"]\nENTRYPOINT [\"x\"]").config.config.cmd, ["own"]);
    assert_eq!(case.plan("FROM base\nENV A=1").config.config.cmd, ["base"]);
}

#[test]
fn triggers_of_the_base_run_in_the_child_and_are_gone_after() {
    let mut base = ImageConfig::default();
    base.config.on_build = vec!["RUN from-image".into()];
    let images = [("base", base)];
    let plan = Case { images: &images, ..Case::default() }.plan("FROM base\nONBUILD RUN from-stage\nRUN own");
    assert_eq!(commands(&plan), ["from-image", "own"]);
    assert_eq!(plan.config.config.on_build, ["RUN from-stage"]);
    let plan =
        Case { images: &images, ..Case::default() }.plan("FROM base AS a\nONBUILD RUN from-stage\nFROM a\nRUN x");
    assert_eq!(commands(&plan), ["from-image", "from-stage", "x"]);
    assert!(plan.config.config.on_build.is_empty());
}

#[test]
fn history_has_one_entry_an_instruction_and_names_the_layers() {
    let plan = plan_of("FROM scratch\nARG A=1\nENV E=2\nCOPY a b /c/\nRUN make it\nCMD [\"x\"]");
    let history: Vec<_> = plan.config.history.iter().map(|entry| entry.created_by.as_deref().unwrap()).collect();
    assert_eq!(
        history,
        ["ARG A=1", "ENV E=2", "COPY a b /c/ # buildkit", "RUN |1 A=1 /bin/sh -c make it # buildkit", "CMD [\"x\"]"]
    );
    assert_eq!(plan.history, [None, None, Some(0), Some(1), None]);
}

#[test]
fn copies_may_come_from_a_later_stage_but_not_in_a_circle() {
    let text = "FROM scratch AS a\nCOPY --from=b /x /y\nFROM scratch AS b\nRUN b";
    assert_eq!(commands(&Case { target: Some("a"), ..Case::default() }.plan(text)), ["b"]);
    let circle = "FROM scratch AS a\nCOPY --from=b /x /y\nFROM scratch AS b\nCOPY --from=a /x /y";
    let names = ["b", "a", "b"].map(str::to_owned).to_vec();
    assert_eq!(Case::default().problem(circle), Problem::Cycle(names));
    assert!(matches!(Case::default().problem("FROM scratch AS a\nCOPY --from=a /x /y"), Problem::Cycle(_)));
}

#[test]
fn a_long_chain_of_stages_needs_no_deep_stack() {
    let mut text = String::from("FROM scratch AS s0\n");
    for stage in 1..20_000 {
        text.push_str(&format!("FROM s{} AS s{stage}\n", stage - 1));
    }
    assert_eq!(plan_of(&text).graph.steps.len(), 0);
}

#[test]
fn fifty_thousand_stages_that_copy_from_each_other_are_planned() {
    let copies: String = (1..50_000).map(|n| format!("FROM scratch AS s{n}\nCOPY --from=S{} /a /b\n", n - 1)).collect();
    // No instructions more than a file may have: every second one is a FROM.
    let text: String = copies.lines().take(60_000).map(|line| format!("{line}\n")).collect();
    assert_eq!(plan_of(&format!("FROM scratch AS s0\n{text}")).graph.steps.len(), 30_000);
}

#[test]
fn named_contexts_go_before_stages_and_images() {
    let contexts = [("files", ContextKind::Directory), ("base", ContextKind::Image)];
    let images = [("base", ImageConfig::default())];
    let case = Case { contexts: &contexts, images: &images, ..Case::default() };
    let plan = case.plan("FROM scratch AS files\nRUN no\nFROM base\nCOPY --from=files a /");
    assert!(matches!(
        &plan.graph.steps[0].operation,
        Operation::Copy(Copy { from: Files::Named(name), .. }) if name == "files"
    ));
    assert!(matches!(&plan.graph.steps[0].parent, Origin::Image(image) if image.name == "base"));
}

#[test]
fn what_cannot_be_built_is_named() {
    let problem = |text: &str| Case::default().problem(text);
    assert!(matches!(problem("ARG I\nFROM $I"), Problem::EmptyImage { .. }));
    assert!(matches!(problem("FROM scratch\nCOPY --from=$X a b"), Problem::VariableInFrom));
    assert!(matches!(problem("FROM scratch\nCOPY --from=5 a b"), Problem::UnknownStageNumber { number: 5, stages: 1 }));
    assert!(matches!(problem("FROM scratch\nCOPY a b c"), Problem::DestinationNotDirectory(path) if path == "/c"));
    assert!(matches!(problem("FROM scratch\nEXPOSE http"), Problem::Value { .. }));
    assert!(matches!(problem("FROM scratch\nCOPY https://example.org/x /"), Problem::NotAllowed(_)));
    assert!(matches!(problem("FROM scratch\nRUN --mount=type=cache,target=/ x"), Problem::Mount(_)));
    assert!(matches!(problem("FROM scratch\nRUN --mount=from=$X,target=/c x"), Problem::VariableInFrom));
    assert!(matches!(problem("FROM scratch AS a\nRUN --mount=from=a,target=/c x"), Problem::Cycle(_)));
    assert!(matches!(problem("FROM scratch\nRUN --network=host x"), Problem::NotAllowed(_)));
    assert!(matches!(problem("FROM scratch\nRUN --security=insecure x"), Problem::NotAllowed(_)));
    let unknown = Case { target: Some("nope"), ..Case::default() }.problem("FROM scratch AS a");
    assert_eq!(unknown, Problem::UnknownTarget { name: "nope".into(), stages: vec!["a".into()] });
}

#[test]
fn workdir_is_relative_to_the_one_before() {
    let plan = plan_of("FROM scratch\nWORKDIR a\nWORKDIR b/../c\nWORKDIR /d");
    let paths: Vec<_> = plan
        .graph
        .steps
        .iter()
        .filter_map(|step| match &step.operation {
            Operation::Workdir(workdir) => Some(workdir.path.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(paths, ["/a", "/a/c", "/d"]);
}

#[test]
fn heredocs_become_scripts_and_files() {
    let plan = plan_of(
        "FROM scratch\nENV N=n\nRUN <<EOF\necho $N\nEOF\nRUN <<S\n#!/bin/python\nx\nS\nCOPY <<A <<'B' /d/\n$N\nA\n$N\nB\n",
    );
    let runs = runs(&plan);
    assert_eq!(runs[0].args, ["/bin/sh", "-c", "echo $N\n"]);
    assert_eq!(runs[1].args, ["/dev/pipes/S"]);
    assert_eq!(runs[1].script.as_ref().unwrap().text, "#!/bin/python\nx\n");
    let Operation::Copy(copy) = &plan.graph.steps[2].operation else { panic!("the third step copies") };
    assert_eq!(copy.inline, [("A".to_owned(), b"n\n".to_vec()), ("B".to_owned(), b"$N\n".to_vec())]);
}

/// What the checks of the planner find, as `Rule:line`.
fn checked(case: &Case<'_>, text: &str) -> Vec<String> {
    let dockerfile = dockerfile::parse(text).unwrap();
    let settings = dockerfile.directives.check.as_ref().map_or("", |check| check.value.as_str());
    let lint = Collector::new(Settings::parse(settings).unwrap());
    let outcome = case.linted(text, &lint);
    assert!(matches!(outcome, Ok(Outcome::Ready(_))), "{text:?} gives {outcome:?}");
    lint.finish().into_iter().map(|found| format!("{}:{}", found.rule, found.lines.0)).collect()
}

#[test]
fn checks_that_need_values() {
    let mut base = ImageConfig::new(&Platform::from_parts("linux", "amd64", ""));
    base.config.set_env("GOPATH", "/go");
    base.config.on_build = vec!["COPY $NOPE /x".into()];
    let images = [("base", base)];
    let case = Case { images: &images, all_stages: true, ..Case::default() };
    for (text, expected) in [
        ("FROM scratch\nCOPY $A /b", &["UndefinedVar:2"][..]),
        ("FROM scratch\nARG A\nCOPY $A /b", &[]),
        ("FROM scratch\nENV A=1\nCOPY $A /b", &[]),
        ("FROM scratch\nCOPY ${A:-x} /b", &[]),
        ("FROM scratch\nRUN echo $A", &[]),
        ("FROM scratch\nENV PATH=$PAHT:/x", &["UndefinedVar:2"]),
        ("FROM base\nWORKDIR $GOPATH", &["UndefinedVar:1"]),
        ("FROM $A${B}scratch", &["UndefinedArgInFrom:1", "UndefinedArgInFrom:1"]),
        ("ARG A=scratch\nFROM $A", &[]),
        ("ARG A\nFROM ${A}scratch", &[]),
        ("ARG A\nFROM scratch$A", &[]),
        ("ARG T=:\nFROM scratch AS b\nFROM ${T#:}b", &[]),
        ("FROM --platform=$TARGETPLATFORM scratch", &["RedundantTargetPlatform:1"]),
        ("FROM --platform=$BUILDPLATFORM scratch", &[]),
        ("FROM --platform=linux/amd64 scratch", &["FromPlatformFlagConstDisallowed:1"]),
        ("FROM --platform=linux/amd64 scratch AS build-amd64", &[]),
        ("FROM scratch\nCMD x", &["JSONArgsRecommended:2"]),
        ("FROM scratch\nENTRYPOINT x", &["JSONArgsRecommended:2"]),
        ("FROM scratch\nSHELL [\"x\"]\nCMD x", &[]),
        ("FROM scratch\nCMD [\"x\"]\nCMD [\"y\"]", &["MultipleInstructionsDisallowed:2"]),
        ("FROM scratch\nHEALTHCHECK NONE\nHEALTHCHECK CMD x", &["MultipleInstructionsDisallowed:2"]),
        ("FROM scratch AS a\nCMD [\"x\"]\nFROM a\nCMD [\"y\"]", &[]),
        ("FROM scratch\nENV a b", &["LegacyKeyValueFormat:2"]),
        ("FROM scratch\nLABEL a b", &["LegacyKeyValueFormat:2"]),
        ("FROM scratch\nARG API_KEY\nENV token=x", &["SecretsUsedInArgOrEnv:2", "SecretsUsedInArgOrEnv:3"]),
        ("FROM scratch\nWORKDIR a\nWORKDIR b", &["WorkdirRelativePath:2"]),
        ("FROM scratch\nWORKDIR /a\nWORKDIR b", &[]),
        ("FROM scratch\nEXPOSE 80/TCP 90:90", &["ExposeInvalidFormat:2", "ExposeProtoCasing:2"]),
        ("FROM scratch\n# check=skip=UndefinedVar\nCOPY $A /b", &[]),
        ("# check=skip=JSONArgsRecommended\nFROM scratch\nCMD x", &[]),
        ("FROM scratch\nCMD x\nFROM scratch", &["JSONArgsRecommended:2"]),
    ] {
        assert_eq!(checked(&case, text), expected, "{text:?}");
    }
    let target = Case { images: &images, ..Case::default() };
    assert!(checked(&target, "FROM scratch\nCMD x\nFROM scratch").is_empty(), "only the target's stages are checked");
}

#[test]
fn ignored_sources_are_found_when_asked_for() {
    let plain = Ignore::parse(b"secret\n*.log").unwrap();
    let exceptions = Ignore::parse(b"*\n!a").unwrap();
    let on = "# check=experimental=all\nFROM scratch\n";
    let case = Case { ignore: Some(&plain), ..Case::default() };
    for (copies, count) in
        [("COPY secret/x /", 1), ("COPY ./a.log b /", 1), ("ADD /secret /", 1), ("COPY . /", 0), ("COPY a /", 0)]
    {
        assert_eq!(checked(&case, &format!("{on}{copies}")).len(), count, "{copies}");
        assert_eq!(checked(&case, &format!("FROM scratch\n{copies}")).len(), 0, "{copies}");
    }
    let case = Case { ignore: Some(&exceptions), ..Case::default() };
    assert_eq!(checked(&case, &format!("{on}COPY b /")).len(), 0);
}

#[test]
fn independent_faults_are_told_together_and_pointed_at() {
    let text = "FROM scratch\nEXPOSE http\nCOPY --from=9 a /\nSTOPSIGNAL  NOPE\nENV A=x${B\nEXPOSE no\n";
    let errors = Case::default().outcome(text).unwrap_err();
    let places: Vec<&str> =
        errors.iter().map(|error| &text[error.span.unwrap().start..error.span.unwrap().end]).collect();
    // Behind a variable that failed, nothing is looked at.
    assert_eq!(places, ["http", "--from=9", "NOPE", "${B"]);
}

#[test]
fn plans_are_bounded() {
    let doubling: String = (1..40).map(|n| format!("ARG A{n}=$A{}$A{}\n", n - 1, n - 1)).collect();
    let ports = "EXPOSE 1-65535\n".repeat(1000);
    let labels = format!("ARG A={}\n{}", "x".repeat(500_000), "LABEL a=$A\n".repeat(1000));
    let stages: String = (1..10_000).map(|n| format!("FROM s{} AS s{n}\nLABEL a=b\n", n - 1)).collect();
    let variables: String = (0..5000).map(|n| format!("ENV E{n}=1\n")).collect();
    let runs = format!(
        "ENV {}\n{}",
        (0..4000).map(|n| format!("E{n}=abcdefgh ")).collect::<String>(),
        "RUN x\n".repeat(20_000)
    );
    let words: String = (0..80_000).map(|n| format!("E{n}=1 ")).collect();
    let triggers = "ONBUILD ENV A=1\n".repeat(500);
    let children: String = (0..3000).map(|n| format!("FROM base AS s{n}\n")).collect();
    for (name, text, limit) in [
        ("words", format!("FROM scratch\nENV {words}"), "the number of variables of a stage is larger"),
        ("triggers", format!("FROM scratch AS base\n{triggers}{children}"), "the number of ONBUILD triggers"),
        (
            "steps",
            format!("FROM scratch\n{}", "RUN x\n".repeat(20_000)),
            "the number of steps that stand on one another",
        ),
        ("doubling", format!("FROM scratch\nARG A0=ab\n{doubling}"), "expansion is larger"),
        ("doubling above", format!("ARG A0=ab\n{doubling}FROM scratch\n"), "expansion is larger"),
        ("ports", format!("FROM scratch\n{ports}"), "the plan of the build is larger"),
        ("labels", format!("FROM scratch\n{labels}"), "the plan of the build is larger"),
        ("stages", format!("FROM scratch AS s0\n{stages}"), "the plan of the build is larger"),
        ("variables", format!("FROM scratch\n{variables}"), "the number of variables of a stage is larger"),
        ("runs", format!("FROM scratch\n{runs}"), "the plan of the build is larger"),
        ("path", format!("FROM scratch\nCOPY {} /\n", "a/".repeat(3000)), "a path is larger"),
    ] {
        let case = Case { all_stages: true, ..Case::default() };
        let Err(errors) = case.outcome(&text) else { panic!("{name} is planned") };
        let error: &dyn std::error::Error = &errors[0];
        let message =
            std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).last().unwrap();
        assert!(message.contains(limit), "{name}: {message}");
    }
}

#[test]
fn what_generated_files_hold_is_planned() {
    let copies: String = (0..10_000).map(|n| format!("COPY <<E /f{n}\n{n}\nE\n")).collect();
    assert_eq!(plan_of(&format!("FROM scratch\n{copies}")).graph.steps.len(), 10_000);
    let one_more = format!("FROM scratch\n{copies}COPY <<E /more\nE\n");
    let Err(errors) = Case::default().outcome(&one_more) else { panic!("10,001 steps are planned") };
    assert_eq!(errors.len(), 1);
    assert!(one_more[errors[0].span.unwrap().start..].starts_with("COPY <<E /more"));

    let words: String = (0..80_000).map(|n| format!("E{}={n} ", n % 4000)).collect();
    let plan = plan_of(&format!("FROM scratch\nENV {words}"));
    assert_eq!(plan.config.config.env("E3999"), Some("79999"));

    let triggers = "ONBUILD ENV A=1\n".repeat(50);
    let children: String = (0..1000).map(|n| format!("FROM base AS s{n}\n")).collect();
    let plan = plan_of(&format!("FROM scratch AS base\n{triggers}{children}"));
    assert_eq!(plan.config.config.env("A"), Some("1"));

    let text: String = (0..65_000).map(|n| format!("LABEL l{}={n}\n", n % 50)).collect();
    assert_eq!(plan_of(&format!("FROM scratch\n{text}")).config.config.labels["l49"], "64999");
}

#[test]
fn platforms_of_build_and_target_are_told_apart_and_can_be_given() {
    let text = "ARG X=$BUILDARCH-$TARGETARCH-$TARGETSTAGE\nFROM scratch AS last\nARG X\nENV X=$X";
    assert_eq!(plan_of(text).config.config.env("X"), Some("arm64-amd64-last"));
    let case = Case { args: &[("TARGETARCH", "riscv64")], ..Case::default() };
    assert_eq!(case.plan(text).config.config.env("X"), Some("arm64-riscv64-last"));
    assert_eq!(plan_of("FROM scratch\nARG TARGETSTAGE\nENV X=$TARGETSTAGE").config.config.env("X"), Some("default"));
}

#[test]
fn an_argument_without_a_value_takes_none_away() {
    let plan = plan_of("ARG V=1\nARG V\nFROM scratch\nARG V\nARG V\nENV X=$V");
    assert_eq!(plan.config.config.env("X"), Some("1"));
}

#[test]
fn frontends_other_than_dockers_own_are_refused() {
    for (syntax, expected) in [
        ("docker/dockerfile:1", true),
        ("docker.io/docker/dockerfile-upstream:master-labs", true),
        ("localhost:5000/mirror/docker/dockerfile:1.7@sha256:00", true),
        ("docker/dockerfile", true),
        ("mydocker/dockerfile", false),
        ("docker/dockerfile2:1", false),
        ("tonistiigi/llb", false),
    ] {
        let outcome = Case::default().outcome(&format!("# syntax={syntax}\nFROM scratch"));
        assert_eq!(outcome.is_ok(), expected, "{syntax}");
        let case = Case { args: &[("BUILDKIT_SYNTAX", syntax)], ..Case::default() };
        assert_eq!(case.outcome("# syntax=docker/dockerfile:1\nFROM scratch").is_ok(), expected, "{syntax}");
    }
}

#[test]
fn the_history_is_in_dockers_words() {
    let plan = plan_of(
        "FROM scratch\nMAINTAINER $me\nARG A=1 B\nENV A=2\nEXPOSE 81/udp 80\nVOLUME /a /b\nSHELL [\"/bin/x\", \"-c\"]\n\
         USER a\nSTOPSIGNAL 9\nONBUILD RUN x\nWORKDIR w\nHEALTHCHECK --interval=90s CMD a b\nENTRYPOINT a\nRUN c\nCOPY --chown=1 a .\n",
    );
    let history: Vec<_> = plan.config.history.iter().map(|entry| entry.created_by.as_deref().unwrap()).collect();
    let expected = [
        "MAINTAINER $me",
        "ARG A=1 B",
        "ENV A=2",
        "EXPOSE [80/tcp 81/udp]",
        "VOLUME [/a /b]",
        "SHELL [/bin/x -c]",
        "USER a",
        "STOPSIGNAL 9",
        "WORKDIR /w",
        "HEALTHCHECK {Test:[CMD-SHELL a b] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
        "ENTRYPOINT [\"/bin/x\" \"-c\" \"a\"]",
        "RUN |2 A=2 B= /bin/x -c c # buildkit",
        "COPY --chown=1 a . # buildkit",
    ];
    assert_eq!(history, expected);
    assert!(plan.config.history.iter().all(|entry| entry.comment.as_deref() == Some("buildkit.dockerfile.v0")));
    assert_eq!(plan.config.author.as_deref(), Some("$me"));
}

#[test]
fn an_outline_has_what_the_target_takes() {
    let text = "# V the version\nARG V=1\nARG IMAGE=scratch\nARG UNUSED\nFROM $IMAGE AS a\nARG V\n# X for x\nARG X=$V.2\n\
                RUN --mount=type=secret,id=key,required --mount=type=ssh x\nFROM scratch\nARG OTHER\n";
    let case = Case { target: Some("a"), ..Case::default() };
    // Mounts are noted even where the rest of the plan is refused.
    let text = text.replace("RUN --mount=type=secret,id=key,required --mount=type=ssh x\n", "");
    let outline = case.plan(&text).outline;
    let args: Vec<_> = outline.args.iter().map(|arg| (arg.name.as_str(), arg.value.as_str(), arg.line)).collect();
    assert_eq!(args, [("V", "1", 2), ("IMAGE", "scratch", 3), ("X", "1.2", 8)]);
    let descriptions: Vec<_> = outline.args.iter().map(|arg| arg.description.as_deref()).collect();
    assert_eq!(descriptions, [Some("the version"), None, Some("for x")]);
}

#[test]
fn contexts_have_all_the_names_of_an_image() {
    let contexts = [("base", ContextKind::Image), ("Build", ContextKind::Image)];
    let images = [("base", ImageConfig::default()), ("Build", ImageConfig::default())];
    let case = Case { contexts: &contexts, images: &images, ..Case::default() };
    for name in ["base", "base:latest", "docker.io/library/base"] {
        let plan = case.plan(&format!("FROM {name}\nRUN x"));
        assert!(matches!(&plan.graph.steps[0].parent, Origin::Image(image) if image.name == "base"), "{name}");
    }
    assert!(matches!(case.outcome("FROM base:2"), Ok(Outcome::Needs(_))));
    let plan = case.plan("FROM scratch AS base\nRUN no");
    assert!(matches!(&plan.target, Origin::Image(image) if image.name == "base"), "a context takes a stage's place");
}

#[test]
fn build_arguments_that_mean_nothing_here_are_named() {
    let case = Case { args: &[("BUILDKIT_INLINE_CACHE", "1"), ("NOPE", "1")], ..Case::default() };
    let warnings: Vec<String> = case.plan("FROM scratch").warnings.into_iter().map(|warning| warning.message).collect();
    let expected =
        ["no ARG asks for the build argument NOPE", "the build argument BUILDKIT_INLINE_CACHE has no effect here"];
    assert_eq!(warnings, expected);
}

#[test]
fn scratch_is_for_the_target_and_an_image_to_copy_from_too() {
    let text = "FROM --platform=linux/arm64 scratch AS arm\nCOPY --from=other /a /b\nRUN x";
    let Ok(Outcome::Needs(wanted)) = Case::default().outcome(text) else { panic!("the image is unknown") };
    assert!(wanted.keys().all(|request| request.platform.architecture() == "amd64"));
    assert_eq!(plan_of("FROM --platform=linux/arm64 scratch").config.architecture, "amd64");
}

#[test]
fn a_directory_that_grows_and_a_mode_that_is_none_are_refused() {
    let text = format!("FROM scratch\n{}", "WORKDIR aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n".repeat(1000));
    let problem = Case::default().problem(&text);
    assert!(matches!(problem, Problem::TooLarge { what: "a path", .. }), "{problem:?}");
    assert!(matches!(Case::default().problem("FROM scratch\nCOPY --chmod=999 a b"), Problem::Value { .. }));
}
