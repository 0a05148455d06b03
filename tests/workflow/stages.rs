//! Several stages, targets, build arguments, `ONBUILD`.

use hypr_tests::{Layout, World};
use serde_json::json;

const STAGES: &str = "\
ARG TAG=unset
FROM busybox AS base
ARG TAG
RUN echo \"$TAG\" >/tag
FROM base AS left
RUN echo left >/left
FROM base AS right
RUN echo right >/right
FROM scratch AS both
COPY --from=left /left /tag /
COPY --from=right /right /
FROM base AS broken
RUN exit 1
FROM both
";

#[test]
fn the_last_stage_or_the_target_is_built_and_no_other() {
    let world = World::with_busybox();
    let project = world.project(STAGES);
    world.build(&project, ["-t", "last", "--build-arg", "TAG=v1"]).ok();
    let image = world.image("last");
    assert_eq!(image.tree().paths(), ["/left", "/right", "/tag"]);
    assert_eq!(image.text_of("/tag"), "v1\n");
    world.build(&project, ["-t", "left", "--target", "LEFT"]).ok();
    assert_eq!(world.image("left").text_of("/tag"), "unset\n");
    world.build(&project, ["-t", "zero", "--target", "0"]).ok();
    assert!(!world.image("zero").tree().has("/left"));
    world.build(&project, ["-t", "broken", "--target", "broken"]).fails(1);
}

#[test]
fn copies_come_from_stages_by_number_from_images_and_from_contexts() {
    let world = World::with_busybox();
    let extra = world.project("").file("extra", "e");
    let project = world.project(
        "FROM busybox\nRUN echo zero >/zero\nFROM scratch\nCOPY --from=0 /zero /\nCOPY --from=busybox /etc/base /\n\
         COPY --from=more extra /\n",
    );
    let context = format!("more={}", extra.path().display());
    world.build(&project, ["-t", "a", "--build-context", &context]).ok();
    let image = world.image("a");
    assert_eq!(image.tree().paths(), ["/base", "/extra", "/zero"]);
    assert_eq!((image.tree().get("/base").uid, image.tree().get("/base").mode), (7, 0o640), "owners are kept");
}

#[test]
fn arguments_have_the_scopes_of_docker() {
    let world = World::with_busybox();
    world.load("other", &Layout::busybox().config("Labels", json!({ "is": "other" })));
    let project = world.project(
        "ARG IMAGE=busybox\nARG DERIVED=${IMAGE}-derived\nFROM ${IMAGE}\nRUN echo \"[$IMAGE]\" >/outside\nARG IMAGE\n\
         ARG DERIVED\nARG LATE=${DERIVED:-none}\nRUN echo \"[$IMAGE] $LATE\" >/inside\n\
         LABEL made=\"${IMAGE}\" missing=\"${NOBODY:-default}\"\n",
    );
    world.build(&project, ["-t", "a", "--build-arg", "IMAGE=other"]).ok();
    let image = world.image("a");
    assert_eq!(image.text_of("/outside"), "[]\n");
    assert_eq!(image.text_of("/inside"), "[other] other-derived\n");
    assert_eq!(image.config("Labels"), &json!({ "is": "other", "made": "other", "missing": "default" }));
}

#[test]
fn a_stage_inherits_the_arguments_of_the_stage_it_is_built_on() {
    let world = World::with_busybox();
    let project = world.project(
        "FROM busybox AS parent\nARG WHO=nobody\nFROM parent AS child\nRUN echo \"$WHO\" >/who\nLABEL who=$WHO\n\
         FROM busybox\nRUN echo \"[$WHO]\" >/other\nCOPY --from=child /who /\n",
    );
    for (flags, who) in [(&[][..], "nobody"), (&["--build-arg", "WHO=somebody"], "somebody")] {
        world.build(&project, flags).args(["-t", "a"]).ok();
        let image = world.image("a");
        assert_eq!(image.text_of("/who"), format!("{who}\n"));
        assert_eq!(image.text_of("/other"), "[]\n", "no other stage has it");
    }
}

#[test]
fn an_argument_without_a_value_is_taken_from_the_environment() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nARG WHO=nobody\nRUN echo $WHO >/who\n");
    world.build(&project, ["-t", "a", "--build-arg", "WHO"]).env("WHO", "me").ok();
    assert_eq!(world.image("a").text_of("/who"), "me\n");
    world.build(&project, ["-t", "b", "--build-arg", "WHO"]).ok();
    assert_eq!(world.image("b").text_of("/who"), "nobody\n");
}

#[test]
fn onbuild_of_the_base_runs_first() {
    let world = World::new();
    world.load(
        "base",
        &Layout::busybox().config("OnBuild", json!(["COPY file /from-onbuild", "RUN echo on >/onbuild"])),
    );
    let project =
        world.project("FROM base\nRUN cat /onbuild /from-onbuild >/both\nONBUILD RUN echo later\n").file("file", "f\n");
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    assert_eq!(image.text_of("/both"), "on\nf\n");
    assert_eq!(image.config("OnBuild"), &json!(["RUN echo later"]));
}

#[test]
fn unused_build_arguments_are_told_but_do_not_stop_the_build() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN true\n");
    world.build(&project, ["--progress", "plain", "--build-arg", "TYPO=1"]).ok().says("TYPO");
}

#[test]
fn the_platform_is_known_to_stages_that_ask() {
    let world = World::with_busybox();
    let project = world.project(
        "FROM --platform=$BUILDPLATFORM busybox AS base\nARG TARGETPLATFORM\nARG TARGETARCH\nARG BUILDOS\n\
         RUN echo $TARGETPLATFORM $TARGETARCH $BUILDOS >/asked\nFROM busybox\nRUN echo \"[$TARGETARCH]\" >/not-asked\n\
         COPY --from=base /asked /\n",
    );
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    assert_eq!(image.text_of("/asked"), "linux/amd64 amd64 linux\n");
    assert_eq!(image.text_of("/not-asked"), "[]\n");
}
