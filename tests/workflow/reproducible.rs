//! The same input gives the same bytes.

use hypr_tests::{Layout, Project, World};

const EPOCH: &str = "1700000000";

/// What identifies a result: the image's id and its file's digest.
#[track_caller]
fn identity(world: &World) -> (String, String) {
    let image = world.image("a");
    (image.id().to_owned(), image.squashfs_digest().to_owned())
}

/// A project with files big and small, on a base image, with steps that write at the time of the build.
fn project(world: &World) -> Project {
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let mut project = world.project(
        "FROM busybox AS one\nRUN mkdir /out && for n in $(seq 1 200); do echo $n >/out/$n; done\n\
         FROM busybox\nCOPY big small* /data/\nRUN rm -r /var/old && mv /data/big /data/moved && ln /data/moved /data/linked\n\
         COPY --from=one /out /out\n",
    );
    project = project.file("big", big);
    (0..50).fold(project, |project, n| project.file(&format!("small{n}"), format!("file {n}\n")))
}

#[test]
fn two_stores_and_any_number_of_threads_give_the_same_file() {
    let (one, two) = (World::with_busybox(), World::with_busybox());
    let project = project(&one);
    one.build(&project, ["-t", "a"]).env("SOURCE_DATE_EPOCH", EPOCH).ok();
    // The times of the files in the second build are later ones.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    two.hypr_on_one_processor(["build", "-t", "a"]).args([project.path()]).env("SOURCE_DATE_EPOCH", EPOCH).ok();
    assert_eq!(identity(&one), identity(&two));
    let (left, right) = (one.image("a").squashfs(), two.image("a").squashfs());
    assert!(std::fs::read(left).unwrap() == std::fs::read(right).unwrap(), "the digests agree and the bytes do not");
    let latest = one.image("a").tree().iter().map(|(_, entry)| entry.time.clone()).max();
    assert!(latest.as_deref() <= Some("2023-11-14 22:13"), "{latest:?} is after SOURCE_DATE_EPOCH");
    assert!(one.image("a").manifest()["created"].as_str().is_some_and(|time| time.starts_with("2023-11-14T22:13:20")));
}

#[test]
fn copies_alone_need_no_epoch() {
    let (one, two) = (World::with_busybox(), World::with_busybox());
    let project = one.project("FROM busybox\nCOPY . /app\nENV A=1\n").file("a", "a").file("deep/b", "b").link("c", "a");
    one.build(&project, ["-t", "a"]).ok();
    two.hypr_on_one_processor(["build", "-t", "a"]).args([project.path()]).ok();
    assert_eq!(one.image("a").squashfs_digest(), two.image("a").squashfs_digest());
}

#[test]
fn an_epoch_empties_no_cache_and_clamps_times() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/random\n");
    world.build(&project, ["-t", "a"]).ok();
    let random = world.image("a").text_of("/random");
    for (epoch, time) in [("86400", "1970-01-02 00:00"), ("172800", "1970-01-03 00:00")] {
        world.build(&project, ["-t", "a"]).env("SOURCE_DATE_EPOCH", epoch).ok();
        let image = world.image("a");
        assert_eq!(image.text_of("/random"), random, "the step ran again");
        assert_eq!(image.tree().get("/random").time, time);
    }
    let refused = world.build(&project, ["-t", "a"]).env("SOURCE_DATE_EPOCH", "soon").run();
    assert!(matches!(refused.status.code(), Some(1 | 2)), "{refused}");
    refused.says("SOURCE_DATE_EPOCH");
}

#[test]
fn bases_compressed_in_other_ways_are_the_same_base() {
    let worlds = ["gzip", "zstd", "none"].map(|compression| {
        let world = World::new();
        world.load("base", &Layout::busybox().compression(compression));
        let project = world.project("FROM base\nENV A=1\n");
        world.build(&project, ["-t", "a"]).ok();
        world
    });
    let digests = worlds.each_ref().map(|world| world.image("a").squashfs_digest().to_owned());
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}
