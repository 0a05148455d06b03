//! Plans of small Dockerfiles.

use std::collections::BTreeMap;

use super::*;
use crate::dockerfile;

/// A build request with everything at its default.
#[derive(Default)]
struct Case<'a> {
    args: &'a [(&'a str, &'a str)],
    target: Option<&'a str>,
    contexts: &'a [(&'a str, ContextKind)],
    images: &'a [(&'a str, ImageConfig)],
}

impl Case<'_> {
    fn outcome(&self, text: &str) -> Result<Outcome, PlanError> {
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
            contexts: &contexts,
            labels: &BTreeMap::new(),
            cache: &CacheUse::All,
            network: Network::None,
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
            Err(error) => error.problem,
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
    assert_eq!(history, ["ARG A=1", "ENV E=2", "COPY a b /c/", "RUN |1 A=1 /bin/sh -c make it", "CMD [\"x\"]"]);
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
    assert!(matches!(problem("FROM scratch\nRUN --mount=type=cache,target=/c x"), Problem::NotYet(_)));
    assert!(matches!(problem("FROM scratch\nADD https://example.org/x /"), Problem::NotYet(_)));
    assert!(matches!(problem("FROM scratch\nRUN --network=host x"), Problem::NotAllowed(_)));
    assert!(matches!(problem("FROM scratch\nRUN --security=insecure x"), Problem::NotAllowed(_)));
    let unknown = Case { target: Some("nope"), ..Case::default() }.problem("FROM scratch AS a");
    assert_eq!(unknown, Problem::UnknownTarget { name: "nope".into(), stages: vec!["a".into()] });
}

#[test]
fn workdir_is_relative_to_the_one_before_and_warns_at_the_start() {
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
    assert_eq!(plan.warnings.len(), 1);
    assert_eq!(plan.warnings[0].line, Some(2));
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
