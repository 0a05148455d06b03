//! What the whole-workflow tests stand on.
//!
//! A test has a [`World`]: a store, a home and a temporary directory of its own, and the program `hypr` to run there.
//! It writes a [`Project`], builds it, and reads the [`Image`] back with tools that are not hypr's. When the world is
//! dropped, nothing of it may be left on the machine: no mount, no loop device, no process, no temporary file.
//!
//! ```no_run
//! let world = hypr_tests::World::new();
//! let project = world.project("FROM scratch\nCOPY greeting /\n").file("greeting", "hello");
//! world.build(&project, ["--tag", "a"]).ok();
//! assert_eq!(world.image("a").read("/greeting"), b"hello");
//! ```

mod harness;

pub use harness::{
    Entry, Finished, Image, Layer, Layout, Mounted, Project, Registry, Request, Response, Run, Running, Server, Tree,
    World, announce, bases, is_root, repository,
};
