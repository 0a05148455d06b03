//! Build checks: found without building and while building, as text and as JSON.

use hypr_tests::World;
use serde_json::json;

const FAULTY: &str = "# syntax=docker/dockerfile:1\nFROM busybox as Base\nCOPY $NOPE /\nCMD echo hello\n";

#[test]
fn a_check_tells_rules_lines_and_pages_and_fails() {
    let world = World::new();
    let project = world.project(FAULTY);
    let finished = world.hypr(["check"]).args([project.path()]).fails(1);
    let out = finished.out();
    for part in [
        "\nWARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/\n",
        "\nWARNING: StageNameCasing - ",
        "\nDockerfile:4\n--------------------\n   2 |     FROM busybox as Base\n   3 |     COPY $NOPE /\n   4 | >>> CMD echo hello\n   \
         5 |     \n--------------------\n",
        "note: the configuration of `busybox` is not at hand",
        "Check complete, 3 warnings have been found!",
    ] {
        assert!(out.contains(part), "{part:?} is missing\n{finished}");
    }
    assert_eq!(finished.err(), "");
    world.build(&project, ["--check"]).fails(1);
    let clean = world.project("FROM scratch\nCOPY a /\n");
    assert_eq!(world.build(&clean, ["--check"]).ok().out(), "Check complete, no warnings found.\n");
}

#[test]
fn a_base_in_the_store_makes_variables_known() {
    let world = World::with_busybox();
    let project = world.project(FAULTY);
    let report = world.build(&project, ["--call=check,format=json"]).fails(1).json();
    let found: Vec<_> = report["warnings"].as_array().unwrap().iter().map(|found| found["ruleName"].clone()).collect();
    assert_eq!(found, ["FromAsCasing", "StageNameCasing", "UndefinedVar", "JSONArgsRecommended"]);
    let warning = &report["warnings"][2];
    assert_eq!(warning["location"], json!({ "ranges": [{ "start": { "line": 3 }, "end": { "line": 3 } }] }));
    assert!(warning["detail"].as_str().unwrap().contains("$NOPE"));
    assert_eq!(report["sources"][0]["filename"], "Dockerfile");
    assert!(report["sources"][0]["data"].as_str().unwrap().starts_with("IyBzeW50YXg9"));
}

#[test]
fn what_cannot_be_built_is_part_of_a_check() {
    let world = World::new();
    let project = world.project("FROM scratch\nEXPOSE http\nMAINTAINER me\nSTOPSIGNAL NOPE\n");
    let finished = world.build(&project, ["--check"]).fails(1);
    assert!(finished.out().contains("MaintainerDeprecated"), "{finished}");
    let error = finished.error();
    assert!(error.contains("Dockerfile:2:8") && error.contains("Dockerfile:4:12"), "{finished}");
    let report = world.build(&project, ["--call=check,format=json"]).fails(1).json();
    assert!(report["buildError"]["message"].as_str().unwrap().contains("is not a port"), "{report}");
}

#[test]
fn a_build_warns_unless_it_is_told_otherwise() {
    let world = World::new();
    let faulty = "FROM scratch as x\nENV API_KEY=1\n";
    let project = world.project(faulty);
    let said = world.build(&project, [""; 0]).ok().err();
    assert!(said.contains("FromAsCasing") && said.contains("SecretsUsedInArgOrEnv"), "{said}");
    let said = world.build(&project.dockerfile(&format!("# check=skip=FromAsCasing\n{faulty}")), [""; 0]).ok().err();
    assert!(!said.contains("FromAsCasing") && said.contains("SecretsUsedInArgOrEnv"), "{said}");
    let strict = world.project(&format!("# check=error=true\n{faulty}"));
    let error = world.build(&strict, ["--tag", "a"]).fails(1).error();
    assert!(error.contains("does not pass the build checks FromAsCasing, SecretsUsedInArgOrEnv"), "{error}");
    assert!(error.contains("Dockerfile:2:14") && error.contains('^'), "{error}");
    world.hypr(["image", "inspect", "a"]).fails(1);
    world.build(&strict, ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"]).ok();
    let wrong = world.project("# check=jump=all\nFROM scratch\n");
    world.build(&wrong, [""; 0]).fails(1).says("invalid check option `jump=all`");
}

#[test]
fn targets_and_their_arguments_are_listed() {
    let world = World::new();
    let text = "# V is the version\nARG V=1\n\n# build makes it\nFROM scratch AS build\nARG V\n# WHO asks\nARG WHO\n\
                FROM --platform=$BUILDPLATFORM scratch\nCOPY --from=build /a /b\n";
    let project = world.project(text);
    let targets = world.build(&project, ["--call=targets"]).ok().out();
    assert_eq!(targets, "TARGET    DESCRIPTION\nbuild     makes it\n(default) \n");
    let targets = world.build(&project, ["--call=targets,format=json"]).ok().json();
    assert_eq!(targets["targets"][0]["name"], "build");
    assert_eq!(targets["targets"][1]["default"], true);
    let outline = world.build(&project, ["--call=outline", "--build-arg", "WHO=me"]).ok().out();
    assert_eq!(
        outline,
        "BUILD ARG   VALUE   DESCRIPTION\nV           1       is the version\nWHO         me      asks\n\n"
    );
    let outline = world.build(&project, ["--call=outline,format=json"]).ok().json();
    assert_eq!(outline["args"][0]["location"]["ranges"][0]["start"]["line"], 2);
    assert_eq!(outline["sources"], targets["sources"]);
    let named = world.build(&project, ["--call=outline", "--target", "BUILD"]).ok().out();
    assert!(named.starts_with("TARGET:      build\nDESCRIPTION: makes it\n\nBUILD ARG   VALUE"), "{named}");
    world.build(&project, ["--call=nope"]).fails(2);
}
