//! Whole workflows through the program, as a user has them: text in, exit status, messages and images out.

mod add;
mod add_git;
mod add_urls;
mod cache;
mod check;
mod configuration;
mod contexts;
mod copy;
mod copy_parents;
mod images;
mod interrupted;
mod mounts;
mod output;
mod overwritten;
mod parse;
mod rebuilt;
mod refused;
mod reproducible;
mod run;
mod sandbox;
mod scale;
mod sources;
mod squashfs;
mod ssh;
mod stages;
mod system;
mod verify;

use hypr_tests::{Image, World};

/// Builds a Dockerfile on a store that has `busybox`, with a context of one file, `file`.
#[track_caller]
fn built(dockerfile: &str) -> (World, Image) {
    let world = World::with_busybox();
    let project = world.project(dockerfile).file("file", "of the context\n");
    world.build(&project, ["--tag", "result"]).ok();
    let image = world.image("result");
    (world, image)
}
