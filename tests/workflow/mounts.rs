//! `RUN --mount`: what steps see, and what stays of it.

use std::fs;

use hypr_tests::World;

#[test]
fn files_of_the_context_are_there_for_one_step_alone() {
    let world = World::with_busybox();
    let project = world
        .project(
            "FROM busybox\nWORKDIR /w\nRUN --mount=target=ctx cat ctx/src/a ctx/top >seen && ls ctx/src >>seen\n\
             RUN --mount=type=bind,source=src/a,target=/one,rw cp /one copy && echo more >>/one && cat /one >>seen\n\
             RUN ls -a / /w >after\n",
        )
        .file("src/a", "a\n")
        .file("top", "top\n")
        .file("ignored", "x")
        .file(".dockerignore", "ignored\n");
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    assert_eq!(image.text_of("/w/seen"), "a\ntop\na\na\nmore\n");
    assert_eq!(image.text_of("/w/copy"), "a\n");
    assert!(!image.tree().has("/w/ctx") && !image.tree().has("/one"));
    assert!(!image.text_of("/w/after").contains("ctx"));
    assert_eq!(fs::read_to_string(project.path().join("src/a")).unwrap(), "a\n", "the context is not written to");
}

#[test]
fn a_step_runs_again_when_what_it_mounts_has_changed_and_only_then() {
    let world = World::with_busybox();
    let project = world
        .project("FROM busybox\nRUN --mount=source=src,target=/src cat /proc/sys/kernel/random/uuid >/random\n")
        .file("src/a", "a")
        .file("other", "b");
    let random = || {
        world.build(&project, ["-t", "a"]).ok();
        world.image("a").text_of("/random")
    };
    let first = random();
    fs::write(project.path().join("other"), "c").unwrap();
    assert_eq!(random(), first);
    fs::write(project.path().join("src/a"), "c").unwrap();
    assert_ne!(random(), first);
}

#[test]
fn stages_by_name_number_and_later_images_and_contexts_are_mounted() {
    let world = World::with_busybox();
    let project = world.project(
        "FROM busybox AS first\nRUN mkdir /out && echo first >/out/f && ln -s /out /link\n\
         FROM busybox AS main\nRUN --mount=from=first,source=/out,target=/a --mount=from=0,source=link/f,target=/b \
         --mount=from=later,target=/c --mount=from=busybox,source=bin,target=/d --mount=from=extra,target=/e \
         cat /a/f /b /c/later /e/file >/seen && test -e /d/sh\n\
         FROM busybox AS later\nRUN echo later >/later\n",
    );
    let extra = world.project("FROM scratch\n").file("file", "extra\n");
    let context = format!("extra={}", extra.path().display());
    world.build(&project, ["-t", "a", "--target", "main", "--build-context", &context]).ok();
    assert_eq!(world.image("a").text_of("/seen"), "first\nfirst\nlater\nextra\n");
}

#[test]
fn a_cache_keeps_what_steps_write_and_the_image_does_not() {
    let world = World::with_busybox();
    let project = world.project(
        "FROM busybox\nARG RUN\nRUN --mount=type=cache,target=/cache,mode=0750,uid=3 echo $RUN >>/cache/log; rm -f /cache/old; \
         cp /cache/log /log; stat -c '%a %u' /cache >>/log\n",
    );
    let log = |run: &str| {
        world.build(&project, ["-t", "a", "--build-arg", &format!("RUN={run}")]).ok();
        world.image("a").text_of("/log")
    };
    assert_eq!(log("1"), "1\n750 3\n");
    assert_eq!(log("2"), "1\n2\n750 3\n");
    assert!(!world.image("a").tree().has("/cache"));
    // A step that fails has written to its cache all the same.
    let failing =
        world.project("FROM busybox\nRUN --mount=type=cache,id=/cache,target=/c echo failed >>/c/log; exit 1\n");
    world.build(&failing, ["-t", "b"]).fails(1);
    assert_eq!(log("3"), "1\n2\nfailed\n3\n750 3\n");
    // Many builds on, nothing is lost although layers were merged.
    for run in 4..16 {
        log(&run.to_string());
    }
    let text = log("last");
    assert_eq!(text.lines().count(), 2 + 1 + 1 + 12 + 1 + 1, "{text}");
}

#[test]
fn caches_are_shared_locked_private_read_only_and_start_as_told() {
    let world = World::with_busybox();
    // Both stages run at once: a shared cache has what both wrote, a locked one is had by one after the other.
    let stage = |name: &str| {
        format!(
            "FROM busybox AS {name}\nRUN --mount=type=cache,id=shared,target=/s --mount=type=cache,id=locked,target=/l,sharing=locked \
             --mount=type=cache,id=private,target=/p,sharing=private touch /s/{name} /p/{name}; \
             test ! -e /l/busy && touch /l/busy && sleep 0.5 && rm /l/busy && touch /l/{name} && touch /done-{name}\n"
        )
    };
    let project = world.project(&format!(
        "{}{}FROM busybox\nCOPY --from=a /done-a /\nCOPY --from=b /done-b /\n\
         RUN --mount=type=cache,id=shared,target=/s,ro --mount=type=cache,id=locked,target=/l --mount=type=cache,id=private,target=/p \
         ls /s >/shared; ls /l >/locked; ls /p >/private; touch /s/x 2>/dev/null || echo refused >>/shared\n",
        stage("a"),
        stage("b")
    ));
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    assert_eq!(image.text_of("/shared"), "a\nb\nrefused\n");
    assert_eq!(image.text_of("/locked"), "a\nb\n");
    assert!(!image.text_of("/private").is_empty());
    let project = world.project(
        "FROM busybox AS seed\nRUN mkdir /seed && echo seed >/seed/f\nFROM busybox\n\
         RUN --mount=type=cache,target=/c,from=seed,source=/seed cp /c/f /out && echo more >>/c/f\n\
         RUN --mount=type=cache,target=/c cat /c/f >>/out\n",
    );
    world.build(&project, ["-t", "b"]).ok();
    assert_eq!(world.image("b").text_of("/out"), "seed\nseed\nmore\n");
}

#[test]
fn secrets_are_seen_by_the_step_and_by_nobody_else() {
    let world = World::with_busybox();
    let project = world.project(
        "FROM busybox\nRUN --mount=type=secret,id=key test \"$(cut -c 1-7 /run/secrets/key)\" = correct && \
         stat -c '%a %u' /run/secrets/key >/seen\n\
         RUN --mount=type=secret,id=key,target=/etc/key,mode=0444,uid=3 --mount=type=secret,id=name,env=NAME \
         test \"$(cut -c 1-7 /etc/key)\" = correct && stat -c '%a %u' /etc/key >>/seen && echo \"$NAME and $(cat /etc/key)\"\n\
         RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent && test ! -e /run/secrets/key\n",
    );
    let file = world.path("key");
    fs::write(&file, "correct-horse\n").unwrap();
    let flags = [
        "-t".to_owned(),
        "a".to_owned(),
        "--progress=plain".to_owned(),
        format!("--secret=id=key,src={}", file.display()),
        "--secret=id=name,env=SECRET_NAME".to_owned(),
    ];
    let finished = world.build(&project, &flags).env("SECRET_NAME", "battery-staple").ok();
    assert!(finished.err().contains("***** and *****"), "{finished}");
    let image = world.image("a");
    assert_eq!(image.text_of("/seen"), "400 0\n444 3\n");
    assert!(!image.tree().has("/run/secrets") && !image.tree().has("/etc/key"));
    for secret in ["correct-horse", "battery-staple"] {
        assert!(!finished.err().contains(secret), "{finished}");
        let found = hypr_tests::Run::new("grep").args(["-r", "-l", "-a", secret]).args([world.store()]).run();
        assert_eq!(found.out(), "", "{secret} is in the store");
    }
    // Another value is no other step.
    fs::write(&file, "other-secret\n").unwrap();
    let again = world.build(&project, &flags).env("SECRET_NAME", "x").ok();
    assert!(again.err().contains("3 steps cached, 0 run"), "{again}");
}

#[test]
fn secrets_that_are_missing_unreadable_or_leaked_stop_the_build() {
    let world = World::with_busybox();
    let file = world.path("key");
    fs::write(&file, "correct-horse\n").unwrap();
    let given = format!("--secret=id=key,src={}", file.display());
    for (mount, command, flag, part) in [
        ("id=key,required", "true", "--no-cache", "requires the secret `key`"),
        ("id=key", "true", "--secret=id=key,src=/no/such/file", "/no/such/file"),
        ("id=key", "true", "--secret=id=key,env=NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE"),
        ("id=key", "cp /run/secrets/key /leaked", &given, "one of its secrets"),
    ] {
        let project = world.project(&format!("FROM busybox\n\nRUN --mount=type=secret,{mount} {command}\n"));
        let error = world.build(&project, ["-t", "a", flag]).fails(1).error();
        assert!(error.contains(part) && error.contains(":3"), "{part:?} is missing: {error}");
    }
    world.hypr(["image", "inspect", "a"]).fails(1);
}

#[test]
fn file_systems_in_memory_are_not_in_the_image() {
    let world = World::with_busybox();
    let project = world.project(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/tmp/t,size=1m echo x >/tmp/t/f; \
         dd if=/dev/zero of=/tmp/t/big bs=1k count=4096 2>/dev/null || echo full >/seen\nRUN ls -a /tmp >>/seen\n",
    );
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    assert!(image.text_of("/seen").starts_with("full\n"));
    assert!(!image.tree().has("/tmp/t"));
}

#[test]
fn mounts_that_make_no_sense_are_refused_with_their_place() {
    let world = World::with_busybox();
    for (mount, part) in [
        ("type=volume,target=/a", "no type of mount"),
        ("type=cache", "needs a target"),
        ("type=cache,target=/a,tagret=/b", "did you mean `target`"),
        ("type=tmpfs,target=/", "over the root"),
        ("type=tmpfs,target=/proc/x", "sandbox's own"),
        ("from=nowhere,target=/a", "nowhere"),
        ("source=missing,target=/a", "missing"),
        ("source=../../etc,target=/a", "etc"),
        ("from=busybox,source=/missing,target=/a", "missing"),
        ("from=$STAGE,target=/a", "takes no variables"),
        ("type=ssh,required,id=work", "--ssh work"),
    ] {
        let project = world.project(&format!("FROM busybox\nARG STAGE=x\nRUN --mount={mount} true\n"));
        let error = world.build(&project, ["-t", "a"]).fails(1).error();
        assert!(error.contains(part) && error.contains(":3"), "{part:?} is missing: {error}");
    }
}
